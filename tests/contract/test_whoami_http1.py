"""The recorded answers of the original, replayed as raw bytes against the program."""

import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from podkit.pod.netlink import read_addresses
from tests.server import PATIENCE, Answer, Client, Server, started, wait_for

RECORDED = json.loads((Path(__file__).parent / "whoami-http1.json").read_text())
CORNERS = json.loads((Path(__file__).parent / "whoami-http1-corners.json").read_text())
CASES = [*RECORDED["cases"], *CORNERS["cases"]]
POD = RECORDED["pod"]
COMPARED = ("Content-Type", "Location", "Accept-Ranges", "Content-Range", "Content-Disposition")
# Where ours is right and the original is not (README, "Differences from the original"): it stops
# reading a body that is larger than its buffer, and says so in the middle of its answer.
BETTER = {"root/body-20k"}
SNIFFED = 512  # bytes of an answer that determine its type
RECORDED_PORT = b"36723"  # in the one recorded body of which only the hash is known


class Servers(dict[str, Server]):
    """Servers by their settings, started on demand; cases that do not change the health share one."""

    def __init__(self, stack: ExitStack, start: Callable[..., AbstractContextManager[Server]]) -> None:
        super().__init__()
        self._stack = stack
        self._start = start

    def __missing__(self, key: str) -> Server:
        arguments, env, _ = json.loads(key)
        self[key] = server = self._stack.enter_context(self._start(*arguments, env=env))
        return server


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers as processes of this machine."""
    with ExitStack() as stack:
        yield Servers(stack, partial(started, "whoami"))


def expand(text: str) -> bytes:
    """The bytes of a recorded request."""
    return re.sub(r"\{repeat:(.):(\d+)\}", lambda match: match[1] * int(match[2]), text).encode("latin-1")


@dataclass(frozen=True)
class Seen:
    """A server's view of its environment: its own names, and its client's address as a pattern."""

    hostname: str
    addresses: list[str]
    client: bytes

    def as_recorded(self, body: bytes) -> bytes:
        """The body as it would read in the recorded pod."""

        def lines(hostname: str, addresses: list[str]) -> bytes:
            return (f"Hostname: {hostname}\n" + "".join(f"IP: {ip}\n" for ip in addresses)).encode()

        def fields(hostname: str, addresses: list[str]) -> bytes:
            return f'"hostname":"{hostname}","ip":{json.dumps(addresses, separators=(",", ":"))}'.encode()

        for render in (lines, fields):
            body = body.replace(
                render(self.hostname, self.addresses), render(POD["hostname"], POD["addresses"])
            )
        return re.sub(self.client, POD["client"].encode() + b":{port}", body)


def check(case: dict[str, Any], answer: Answer, recorded: dict[str, Any], seen: Seen) -> None:
    """Compares as the recording's notes say."""
    assert answer.status == recorded["status"]
    if case["compare"] == "status":
        return
    assert answer.version == recorded["version"]
    headers = dict(recorded["headers"])
    if recorded["status"] == 101:
        names = ("Upgrade", "Connection", "Sec-WebSocket-Accept")
        assert [answer.header(name) for name in names] == [headers[name] for name in names]
        return
    if case["name"] == "root/body-binary" and b"\x00" not in answer.body[:SNIFFED]:
        headers["Content-Type"] = "text/plain; charset=utf-8"  # this machine lists more addresses first
    assert {name: answer.header(name) for name in COMPARED} == {name: headers.get(name) for name in COMPARED}
    assert answer.header("Server") is None
    body = seen.as_recorded(answer.body)
    if "body" not in recorded:
        body = body.replace(b"{port}", RECORDED_PORT)
        assert (len(body), hashlib.sha256(body).hexdigest()) == (
            recorded["body_length"],
            recorded["body_sha256"],
        )
    elif case["name"] in BETTER:
        head = recorded["body"].encode("latin-1").partition(b"\r\n\r\n")[0]
        assert body == head + b"\r\n\r\n" + expand(case["request"]).partition(b"\r\n\r\n")[2]
    else:
        assert body == recorded["body"].encode("latin-1")
        if recorded["framing"] == "content-length":
            assert int(answer.header("Content-Length") or -1) == len(answer.body)


def settings(case: dict[str, Any]) -> str:
    """A case's server settings; cases with the same settings may share a server, unless they change it."""
    alone = case["name"] if case["name"].startswith("health/") else ""
    return json.dumps([case.get("args") or [], case.get("env") or {}, alone])


def replay_here(case: dict[str, Any], server: Server) -> None:
    """Replays against a server on this machine, again if its addresses change meanwhile."""
    for attempt in range(5):
        wait_for(lambda: json.loads(server.get("/api").body)["ip"] == read_addresses())
        before = read_addresses()
        try:
            return replay(case, server, see_here)
        except AssertionError:
            if attempt == 4 or (attempt > 1 and before == read_addresses()):
                raise


def replay(case: dict[str, Any], server: Server, see: Callable[[Client], Seen]) -> None:
    """Sends a case's bytes and compares the answers."""
    for earlier in case.get("before") or []:
        server.ask(expand(earlier))
    raw = expand(case["request"]).replace(b"{serverport}", str(server.port).encode())
    with server.connect() as client:
        client.send(raw)
        if case.get("half_close"):
            client.socket.shutdown(socket.SHUT_WR)
        for recorded in case["responses"]:
            answer = client.read(raw)
            if recorded is None:
                assert answer is None
                continue
            assert answer is not None
            check(case, answer, recorded, see(client))
        closes = bool(case.get("closes"))
        assert client.closes(PATIENCE if closes else 0.05) == closes


def see_here(client: Client) -> Seen:
    """The view of a process on this machine."""
    return Seen(socket.gethostname(), read_addresses(), b"127\\.0\\.0\\.1:%d" % client.port)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_answers_as_the_original(case: dict[str, Any], servers: Servers) -> None:
    """Every recorded answer of the original is the same as ours."""
    replay_here(case, servers[settings(case)])
