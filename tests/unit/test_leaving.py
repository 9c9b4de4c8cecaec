"""A server that shuts down, and how its clients learn of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame

from podkit.message import Response
from podkit.routes import Route
from podkit.server import Server
from tests.http2 import Peer, get
from tests.inprocess import until

LAST_OF_ALL = (1 << 31) - 1  # in a GOAWAY that does not name the last stream yet


@pytest.fixture
def gate() -> asyncio.Event:
    """Lets the answers to /late go."""
    return asyncio.Event()


@pytest.fixture
def server(gate: asyncio.Event) -> Server:
    """All paths are answered immediately, except one."""

    async def wait() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b"hello"

    route = Route(lambda request: Response(body=wait() if request.head.path == b"/late" else b"hello"))
    return Server(lambda head: route)


def goodbyes(frames: list[Any]) -> list[int]:
    """The last streams in GOAWAY frames."""
    return [frame.last_stream_id for frame in frames if isinstance(frame, GoAwayFrame)]


async def test_http2_clients_are_asked_to_leave_with_their_next_answer(server: Server) -> None:
    """Idle ones are not disturbed; the answer precedes the only GOAWAY."""
    peer = Peer(server)
    await peer.ask(peer.headers(1, *get("/")))
    server.draining = True
    assert goodbyes(await peer.settle()) == []
    frames = await peer.ask(peer.headers(3, *get("/")))
    kinds = [type(frame) for frame in frames]
    assert goodbyes(frames) == [LAST_OF_ALL]
    assert kinds.index(DataFrame) < kinds.index(GoAwayFrame)
    assert goodbyes(await peer.ask(peer.headers(5, *get("/")))) == []
    assert peer.body(5) == b"hello"
    await peer.leave()


async def test_http2_clients_that_come_late_get_an_answer_first(server: Server) -> None:
    """Some clients treat an early GOAWAY as a broken connection, and try another."""
    server.draining = True
    peer = Peer(server)
    assert goodbyes(await peer.settle()) == []
    assert goodbyes(await peer.ask(peer.headers(1, *get("/")))) == [LAST_OF_ALL]
    assert peer.body(1) == b"hello"
    (ping,) = [frame for frame in peer.seen if isinstance(frame, PingFrame)]
    assert goodbyes(await peer.ask(PingFrame(0, ping.opaque_data, flags=["ACK"]))) == [1]
    assert peer.wire.end


async def test_requests_are_counted(server: Server, gate: asyncio.Event) -> None:
    """Those in flight, those answered, and those cut by the grace period."""
    peer, other = Peer(server), Peer(server)
    await peer.ask(peer.headers(1, *get("/")))
    assert (server.in_flight(), server.answered) == (0, 1)
    await peer.ask(peer.headers(3, *get("/late")), peer.headers(5, *get("/late")))
    await other.ask(other.headers(1, *get("/late")))
    assert (server.in_flight(), server.answered) == (3, 1)
    await other.leave()
    assert server.in_flight() == 2
    gate.set()
    await until(lambda: server.answered == 3)
    gate.clear()
    await peer.ask(peer.headers(7, *get("/late")))
    assert await server.drain(0) == 1
    await asyncio.sleep(0)
    assert not len(server.connections)
