"""Behind real proxies: their effect on requests and answers."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import client_context, issue
from tests.proxies import Proxy, haproxy, nginx, sends_proxy_header, traefik
from tests.server import PATIENCE, Answer, Client, Server, request, started

PROXIES: dict[str, Callable[[int], AbstractContextManager[Proxy]]] = {
    "nginx": lambda port: nginx([port]),
    "HAProxy": haproxy,
    "Traefik": lambda port: traefik([port]),
}


@contextmanager
def connected(proxy: Proxy) -> Iterator[Client]:
    """A connection to a proxy."""
    with Client(socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)) as client:
        yield client


def ask(proxy: Proxy, data: bytes) -> Answer:
    """The answer to a raw request through a proxy."""
    with connected(proxy) as client:
        client.send(data)
        answer = client.read()
        assert answer is not None
        return answer


@pytest.mark.parametrize("name", PROXIES)
def test_hops_behind_a_proxy(whoami: Server, name: str) -> None:
    """What the proxy adds is a claim; that the connection is its own is certain."""
    with PROXIES[name](whoami.port) as proxy:
        told = json.loads(
            ask(proxy, request("/.hops", "Accept: application/json", "X-Real-Ip: 203.0.113.7")).body
        )
    *claims, connection, _ = told["hops"]
    assert connection["peer"].startswith("127.0.0.1:")
    assert connection["certain"]
    assert not any(claim["certain"] for claim in claims)
    sources = {claim["source"].split()[0]: claim["value"] for claim in claims}
    if name == "HAProxy":
        assert sources["X-Forwarded-For"] == "127.0.0.1"
        assert told["contradictions"] == ["X-Real-Ip says 203.0.113.7, which X-Forwarded-For does not name"]
    if name == "Traefik":  # it trusts no client
        assert (sources["X-Forwarded-For"], sources["X-Real-Ip"]) == ("127.0.0.1", "127.0.0.1")
        assert told["contradictions"] == []


@pytest.mark.parametrize("name", PROXIES)
def test_faults_behind_a_proxy(whoami: Server, name: str) -> None:
    """A status passes through; a closed connection becomes the proxy's own error."""
    with PROXIES[name](whoami.port) as proxy:
        answer = ask(proxy, request("/.answer?status=429&header=Retry-After:7"))
        assert (answer.status, answer.header("Retry-After")) == (429, "7")
        assert answer.body == f"429 from {socket.gethostname()}\n".encode()
        assert ask(proxy, request("/.answer?close=true")).status == 502


@pytest.fixture(scope="module")
def proxied() -> Iterator[Server]:
    """A whoami that requires PROXY headers."""
    with started("whoami", env={"WHOAMI_PROXY_PROTOCOL": "true"}) as server:
        yield server


@pytest.mark.parametrize("sender", ["nginx-1", "haproxy-1", "haproxy-2", "traefik-1", "traefik-2"])
def test_proxy_headers_of(sender: str, proxied: Server, tmp_path: Path) -> None:
    """The client is the one that connected to the proxy; the connection is the proxy's."""
    with sends_proxy_header(sender, proxied.port, tmp_path) as proxy, connected(proxy) as client:
        client.send(request("/.hops", "Accept: application/json"))
        answer = client.read()
        assert answer is not None
        announced, connection, _ = json.loads(answer.body)["hops"]
        assert (announced["version"], announced["family"]) == (int(sender[-1]), "TCP4")
        assert announced["client"] == f"127.0.0.1:{client.port}"
        assert announced["destination"] == f"127.0.0.1:{proxy.port}"
        assert connection["peer"] not in (announced["client"], "")
        client.send(request("/"))
        answer = client.read()
        assert answer is not None
        assert f"\nRemoteAddr: 127.0.0.1:{client.port}\n".encode() in answer.body


def test_a_proxy_header_tells_of_tls(proxied: Server, tmp_path: Path) -> None:
    """HAProxy, which terminates TLS, sends version, cipher, and server name, with a valid checksum."""
    identity = issue("whoami.example")
    (tmp_path / "tls.pem").write_bytes(identity.pem + identity.key_pem)
    with (
        sends_proxy_header("haproxy-tls", proxied.port, tmp_path) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as plain,
        client_context().wrap_socket(plain, server_hostname="whoami.example") as secure,
        Client(secure) as client,
    ):
        client.send(request("/.who"))
        answer = client.read()
        assert answer is not None
        announced: dict[str, Any] = json.loads(answer.body)["connection"]["announced"]
    assert announced["authority"] == "whoami.example"
    assert announced["tls"]["version"] == "TLSv1.3"
    assert announced["tls"]["cipher"].startswith("TLS_")
    assert announced["tls"]["is_verified"] is False
