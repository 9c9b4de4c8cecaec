"""The recorded answers of the original, replayed as raw bytes against the program."""

import hashlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podkit.netlink import read_addresses
from tests.server import Answer, Server, started

RECORDED = json.loads((Path(__file__).parent / "whoami-http1.json").read_text())
POD = RECORDED["pod"]
COMPARED = ("Content-Type", "Location", "Accept-Ranges", "Content-Range", "Content-Disposition")
# Where ours is right and the original is not (README, "Differences from the original"): it stops
# reading a body that is larger than its buffer, and says so in the middle of its answer.
BETTER = {"root/body-20k"}
RECORDED_PORT = b"36723"  # stands in the one recorded body of which only the sum is known


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """Servers by their settings; cases without a change of health share one."""
    running: dict[str, Server] = {}
    contexts = []

    class Pool(dict[str, Server]):
        def __missing__(self, key: str) -> Server:
            arguments, env, _ = json.loads(key)
            context = started("whoami", *arguments, env=env)
            contexts.append(context)
            self[key] = server = context.__enter__()
            return server

    running = Pool()
    yield running
    for context in contexts:
        context.__exit__(None, None, None)


def expand(text: str) -> bytes:
    """The bytes of a recorded request."""
    return re.sub(r"\{repeat:(.):(\d+)\}", lambda match: match[1] * int(match[2]), text).encode("latin-1")


def as_recorded(body: bytes, port: int) -> bytes:
    """The body as it would read in the recorded pod."""
    ours, theirs = read_addresses(), POD["addresses"]

    def lines(hostname: str, addresses: list[str]) -> bytes:
        return (f"Hostname: {hostname}\n" + "".join(f"IP: {ip}\n" for ip in addresses)).encode()

    def fields(hostname: str, addresses: list[str]) -> bytes:
        return f'"hostname":"{hostname}","ip":{json.dumps(addresses, separators=(",", ":"))}'.encode()

    body = body.replace(lines(socket.gethostname(), ours), lines(POD["hostname"], theirs))
    body = body.replace(fields(socket.gethostname(), ours), fields(POD["hostname"], theirs))
    return body.replace(b"127.0.0.1:%d" % port, POD["client"].encode() + b":{port}")


def check(case: dict[str, Any], answer: Answer, recorded: dict[str, Any], port: int) -> None:
    """Compare as the recording's own notes say."""
    assert answer.status == recorded["status"]
    if case["compare"] == "status":
        return
    assert answer.version == recorded["version"]
    headers = dict(recorded["headers"])
    if case["name"] == "echo/handshake":
        names = ("Upgrade", "Connection", "Sec-WebSocket-Accept")
        assert [answer.header(name) for name in names] == [headers[name] for name in names]
        return
    assert {name: answer.header(name) for name in COMPARED} == {name: headers.get(name) for name in COMPARED}
    assert answer.header("Server") is None
    body = as_recorded(answer.body, port)
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


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["name"])
def test_answers_as_the_original(case: dict[str, Any], servers: dict[str, Server]) -> None:
    """Whatever was recorded of the original, ours answers the same."""
    alone = case["name"] if case["name"].startswith("health/") else ""
    server = servers[json.dumps([case.get("args") or [], case.get("env") or {}, alone])]
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
            check(case, answer, recorded, client.port)
        closes = bool(case.get("closes"))
        assert client.closes(5 if closes else 0.05) == closes
