"""``/.raw``: the bytes of a request as received."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hyperframe.frame import DataFrame, SettingsFrame, WindowUpdateFrame

from podkit.limits import Limits
from podkit.pod.pod import Pod
from podkit.routes import FindRoute
from podkit.server import Server
from tests.http2 import PREFACE, Peer, get
from tests.inprocess import running
from whoami.app import build_app, build_routes
from whoami.health import Health
from whoami.who import Names

ODD = (
    b"GET /a/.raw?x=%%41 HTTP/1.1\r\nhOST:whoami.example\r\nX-B:  two \t\r\nx-a:\t1\r\nX-b:3\r\n"
    b"Connection: close\r\n%s\r\n"
)
CHUNKS = b'5;ext="a b"\r\nhello\r\n0006\r\n world\r\n0\r\nX-Trailer:  t\r\n\r\n'


def find() -> FindRoute:
    """whoami's routes."""
    return build_routes(Pod(), Health(), names=Names()).find


def split(answer: bytes) -> tuple[list[bytes], bytes]:
    """The lines of an answer's head, and its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


@pytest.mark.parametrize(
    "request_",
    [
        ODD % b"",
        ODD % b"Content-Length: 5\r\n" + b"\0\r\n\xff1",
        ODD % b"Transfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n" + CHUNKS,
        (ODD % b"").replace(b"\r\n", b"\n"),
        ODD % b"Content-Length: 200000\r\n" + bytes(200_000),
    ],
    ids=["head", "body", "chunks", "bare line feeds", "large"],
)
@pytest.mark.parametrize("cuts", [1, 7], ids=["at once", "in pieces"])
async def test_the_bytes_come_back(request_: bytes, cuts: int) -> None:
    """Case, order, spacing and framing, whatever the segments; with a type that no browser executes."""
    async with running(find()) as server:
        reader, writer = await server.connect()
        step = len(request_) // cuts + 1
        for start in range(0, len(request_), step):
            writer.write(request_[start : start + step])
            await asyncio.sleep(0.002 * (cuts - 1))
        head, body = split(await reader.read())
        writer.close()
        assert body == request_
        assert head[0] == b"HTTP/1.1 200 OK"
        expected = {
            b"Content-Type: application/octet-stream",
            b"X-Content-Type-Options: nosniff",
            b"Content-Disposition: inline",
            b"Cache-Control: no-store",
        }
        assert expected <= set(head)
        await server.let_go()


async def test_pipelined_requests_do_not_mix() -> None:
    """Each gets its own bytes, without the stray line ends that old clients send after a POST."""
    first = b"POST /.raw HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    async with running(find()) as server:
        answer = await server.ask(first + b"\r\n" + ODD % b"")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\n\r\n" + first + b"HTTP/1.1 200" in answer
    assert split(answer.rpartition(b"HTTP/1.1 200 OK\r\n")[2])[1] == ODD % b""


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 1001\r\n\r\n" + bytes(1001),
        b"Transfer-Encoding: chunked\r\n\r\n" + b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 900 + b"0\r\n\r\n",
    ],
    ids=["length", "chunk", "many chunks"],
)
async def test_no_more_than_the_limit(framed: bytes) -> None:
    """Requests over --max-body get 413, including chunk lines."""
    limits = Limits(max_body=1000, max_head=200)
    async with running(find(), limits) as server:
        answer = await server.ask(b"POST /.raw HTTP/1.1\r\nHost: a\r\n" + framed)
        assert answer.startswith(b"HTTP/1.1 413 ")
        await server.let_go()


async def test_over_http2() -> None:
    """The decoded fields, pseudo-header fields first, then the body and the trailers."""
    peer = Peer(Server(find()))
    fields = get("/x/.raw", ("x-b", "1"), ("cookie", "a=b"), ("x-a", "2"), ("cookie", "c=d"), method="POST")
    await peer.ask(
        peer.headers(1, *fields, ended=False),
        DataFrame(1, b"a bo"),
        DataFrame(1, b"dy"),
        peer.headers(1, ("x-trailer", "t")),
    )
    assert peer.fields[-1]["content-type"] == "application/octet-stream"
    expected = [
        b"# HTTP/2: the fields as they were decoded, in their order, then the body without its frames",
        *[f"{name}: {value}".encode() for name, value in fields],
        *[b"", b"a body", b"# trailers", b"x-trailer: t", b""],
    ]
    assert peer.body(1) == b"\r\n".join(expected)
    await peer.ask(peer.headers(3, *get("/.raw")))
    assert peer.body(3).endswith(b":path: /.raw\r\n\r\n")
    await peer.leave()
    assert peer.server.budget.used == 0


async def test_before_an_upgrade_to_http2() -> None:
    """A request handed over by HTTP/1.1 has its bytes, which are charged while they are kept."""
    upgrade = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAAAAA\r\n"  # no window
    )
    sent = b"POST /.raw HTTP/1.1\r\nhOST: a\r\nContent-Length: 90000\r\n%s\r\n" % upgrade + b"x" * 90_000
    peer = Peer(Server(find()), opening=sent)
    await peer.settle()
    assert peer.wire.taken.startswith(b"HTTP/1.1 101 ")
    del peer.wire.taken[: peer.wire.taken.index(b"\r\n\r\n") + 4]
    await peer.ask(PREFACE, SettingsFrame(0, {4: 0}))
    assert peer.body(1) == b""
    assert peer.server.budget.used > len(sent)
    await peer.ask(SettingsFrame(0, {4: 1 << 20}), WindowUpdateFrame(0, 1 << 20))
    assert peer.body(1) == sent
    await peer.leave()
    assert peer.server.budget.used == 0


async def test_over_http2_no_more_than_the_limit() -> None:
    """A body over --max-body gets 413 there, too."""
    peer = Peer(Server(find(), limits=Limits(max_body=100)))
    fields = get("/.raw", method="POST")
    await peer.ask(peer.headers(1, *fields, ended=False), DataFrame(1, bytes(101)))
    assert peer.fields[-1][":status"] == "413"
    await peer.leave()


async def test_from_aiohttp(aiohttp_client: Callable[..., Any]) -> None:
    """Its parser preserves less, and the first line says so."""
    client = await aiohttp_client(build_app())
    text = await (await client.post("/.raw?a=1", data=b"body", headers={"x-oDD": "1"})).text()
    assert text.startswith("# aiohttp: ")
    assert "\r\nPOST /.raw?a=1 HTTP/1.1\r\n" in text
    assert "\r\nx-oDD: 1\r\n" in text
    assert text.endswith("\r\n\r\nbody")
