"""``/.who`` and ``/.events``: a pod's facts about itself and a request."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from hyperframe.frame import DataFrame, GoAwayFrame

from podkit import __version__
from tests.certificates import client_context, connect, issue
from tests.http2 import RawHttp2, get
from tests.server import PATIENCE, Client, Server, request, started, wait_for
from whoami.app import build_app

VARIABLES = {
    "POD_NAME": "whoami-5b7d-4wzkx",
    "NAMESPACE": "ns1",
    "INGRESS_NAME": "whoami-ingress",
    "SERVICE_NAME": "whoami-service",
    "NODE_NAME": "worker1",
}
ECHO_BASIC = ["path", "host", "method", "proto", "headers", "namespace", "ingress", "service", "pod", "sni"]
OURS = ["connection", "hostname", "ip", "node", "name", "version", "started", "state"]
LINES = re.compile(r"event: (\w+)\ndata: (.*)\n\n")


@pytest.fixture
def named() -> Iterator[Server]:
    """A whoami with names from a manifest."""
    with started("whoami", "--name", "blue", env=VARIABLES) as server:
        yield server


def who(server: Server | Client, target: str = "/.who", *headers: str) -> dict[str, Any]:
    """The document, over an existing or a new connection."""
    if isinstance(server, Server):
        return dict(json.loads(server.get(target, *headers).body))
    server.send(request(target, *headers))
    answer = server.read()
    assert answer is not None
    return dict(json.loads(answer.body))


def test_all_that_is_known(named: Server) -> None:
    """echo-basic's keys first, then ours, with any prefix."""
    told = who(named, "/some/prefix/.who?x=%2F", "X-Two: 1", "X-Two: 2")
    assert list(told) == [*ECHO_BASIC, *OURS]
    expected = {
        **{"path": "/some/prefix/.who?x=%2F", "host": "whoami.example", "method": "GET", "proto": "HTTP/1.1"},
        **{"headers": {"User-Agent": ["test"], "X-Two": ["1", "2"]}, "sni": ""},
        **{"namespace": "ns1", "ingress": "whoami-ingress", "service": "whoami-service"},
        **{"pod": "whoami-5b7d-4wzkx", "node": "worker1", "name": "blue"},
        **{"version": __version__, "state": "serving"},
    }
    assert expected.items() <= told.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["started"])
    assert "127.0.0.1" in told["ip"]


def test_it_is_never_stored(named: Server) -> None:
    """Nor interpreted as another type."""
    answer = named.get("/.who")
    kept = ("Content-Type", "Cache-Control", "X-Content-Type-Options", "Connection")
    assert [answer.header(name) for name in kept] == ["application/json", "no-store", "nosniff", None]


def test_connections_and_requests_are_told_apart(whoami: Server) -> None:
    """A connection has its own id, and counts its requests."""
    with whoami.connect() as one, whoami.connect() as two:
        first, second, third = who(one), who(one), who(two)
        assert first["connection"]["peer"] == f"127.0.0.1:{one.port}"
    numbers = [told["connection"]["request"] for told in (first, second, third)]
    assert numbers == [1, 2, 1]
    ids = [told["connection"]["id"] for told in (first, second, third)]
    assert ids[0] == ids[1] != ids[2]
    assert 0 <= first["connection"]["seconds"] <= second["connection"]["seconds"] < 5


def test_the_connection_is_closed_on_demand(whoami: Server) -> None:
    """With ?close=true, after the answer."""
    with whoami.connect() as client:
        client.send(request("/.who?close=true"))
        answer = client.read()
        assert answer is not None
        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert client.closes()


def test_http2_has_one_connection_whose_streams_count(whoami: Server) -> None:
    """?close=true closes it with a GOAWAY after the answer, which names the last stream."""
    with RawHttp2(whoami) as client:
        client.send(client.headers(1, *get("/.who")), client.headers(3, *get("/.who?close=true")))
        frames = list(client.frames())
        told = [json.loads(frame.data) for frame in frames if isinstance(frame, DataFrame) and frame.data]
        assert [document["proto"] for document in told] == ["HTTP/2.0"] * 2
        assert [document["connection"]["request"] for document in told] == [1, 2]
        assert told[0]["connection"]["id"] == told[1]["connection"]["id"]
        (goaway,) = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
        assert (goaway.last_stream_id, goaway.error_code) == (3, 0)


def test_it_waits_as_the_original_does(whoami: Server) -> None:
    """With ?wait=, in Go's durations."""
    start = time.monotonic()
    assert who(whoami, "/.who?wait=300ms")["state"] == "serving"
    assert time.monotonic() - start >= 0.3


def test_plain_has_none_of_them() -> None:
    """The original's answer on each of these paths."""
    with started("whoami", env={"WHOAMI_PLAIN": "true"}) as plain:
        for path in ("/.who", "/.events", "/.live", "/prefix/.live", "/.raw", "/.hops", "/.answer?status=503"):
            assert b"\nGET %s HTTP/1.1\r\n" % path.encode() in plain.get(path).body


def test_over_tls(tmp_path: Path) -> None:
    """The handshake's result, and the client's certificate."""
    client = issue("client")
    with (
        started("whoami", *issue("whoami.example").write(tmp_path)) as server,
        connect(server, client_context(client)) as connection,
    ):
        told = who(connection)
    tls = told["tls"]
    expected = {"version": "TLSv1.3", "peerCertificates": [client.pem.decode()], "serverName": ""}
    assert expected.items() <= tls.items()
    assert tls["cipherSuite"].startswith("TLS_")
    assert list(tls) == [*expected, "negotiatedProtocol", "cipherSuite"]


def read_event(client: Client) -> tuple[str, dict[str, Any]]:
    """The next event of a stream."""
    text = ""
    while not (found := LINES.search(text)):
        size = int(client.reader.readline(), 16)
        assert size, "the stream ended"
        text += client.reader.read(size + 2).decode()[:-2]
    return found[1], json.loads(found[2])


def test_a_stream_tells_the_state_until_the_end() -> None:
    """Immediately, every second, on every change of health; and when the server is about to leave."""
    with started("whoami", "--grace-period=1h", env=VARIABLES) as server, server.connect() as client:
        start = time.monotonic()
        client.send(request("/prefix/.events"))
        head = b"".join(iter(client.reader.readline, b"\r\n")).decode()
        assert "Content-Type: text/event-stream\r\n" in head
        assert "X-Accel-Buffering: no\r\n" in head
        assert "Cache-Control: no-store\r\n" in head
        name, told = read_event(client)
        assert (name, list(told), told["state"]) == ("state", OURS[1:], "serving")
        assert read_event(client)[0] == "state"
        assert time.monotonic() - start > 0.5
        server.get("/health", method="POST", body=b"503")
        wait_for(lambda: read_event(client)[1]["state"] == "not ready")
        server.process.terminate()
        wait_for(lambda: read_event(client)[0] == "leaving")
        assert client.reader.read() == b"0\r\n\r\n"
        assert server.process.wait(PATIENCE) == 0


async def test_as_an_aiohttp_application(aiohttp_client: Any) -> None:
    """They work there too, and a stream does not delay the shutdown."""
    client: TestClient[Any, Any] = await aiohttp_client(build_app(name="blue", environ=[b"NODE_NAME=worker1"]))
    told = await (await client.get("/.who")).json()
    assert (told["name"], told["node"]) == ("blue", "worker1")
    stream = await client.get("/.events")
    assert (await stream.content.readline()) == b"retry: 1000\n"
    async with asyncio.timeout(PATIENCE):
        await client.server.close()
        assert b"event: leaving\n" in await stream.content.read()
