"""Whatever a client sends over HTTP/2, nothing is held after it disconnects."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from podkit.limits import Limits
from podkit.message import Abort, Delayed, Dialogue, Fields, Inflow, Request, Response
from podkit.routes import Route, Routes
from podkit.server import Server
from tests.http2 import GET, Peer, get, raw

PATHS = ("/", "/bench", "/big", "/later", "/abort", "/stream", "/blocks", "/dialogue", "/broken")


async def count() -> AsyncIterator[bytes]:
    """A streamed body."""
    for number in range(20):
        yield b"%d" % number * 50
        await asyncio.sleep(0)


async def converse(inflow: Inflow) -> AsyncIterator[bytes | Fields]:
    """Everything twice."""
    async for block in inflow.blocks():
        yield block * 2
    yield ((b"told", b"all"),)


def broken(request: Request) -> Response:
    """An internal error."""
    raise RuntimeError("broken")


def build_server() -> Server:
    """All kinds of answers, and small limits."""
    table = {
        b"/": Route(lambda request: Response(body=bytes(request.body) * 2), reads_body=True),
        b"/bench": Route(lambda request: Response(body=b"1")),
        b"/big": Route(lambda request: Response(body=bytes(50_000))),
        b"/later": Route(lambda request: Delayed(0.0001, lambda: Response(body=b"late")), reads_body=True),
        b"/abort": Route(lambda request: Abort()),
        b"/stream": Route(lambda request: Response(body=count(), trailers=((b"a", b"b"),))),
        b"/blocks": Route(lambda request: Response(body=[b"", b"x" * 20_000, b"y"], length=20_001)),
        b"/dialogue": Route(lambda request: Dialogue((), converse, ((b"told", b"goodbye"),))),
        b"/broken": Route(broken),
    }
    limits = replace(
        Limits(), budget=200_000, max_body=50_000, max_streams=5, max_head=20_000, connections=3 * 57_344
    )
    return Server(Routes(table).find, limits=limits)


ids = st.sampled_from((1, 3, 5, 7, 9, 11, 13, 2, 0))
flags = st.sets(st.sampled_from(("END_STREAM", "END_HEADERS")))
fields = st.builds(
    lambda path, method, more: get(path, *more, method=method),
    st.sampled_from(PATHS),
    st.sampled_from(("GET", "POST", "HEAD", "CONNECT")),
    st.lists(
        st.sampled_from(
            (("a", "b"), ("content-length", "5"), ("te", "x"), ("trailer", "a"), ("big", "x" * 3000), GET[0])
        ),
        max_size=3,
    ),
)
numbers = st.sampled_from((0, 1, 100, 20_000, 65_535, 1 << 20, (1 << 31) - 1))
data = st.sampled_from((b"", b"x", bytes(100), bytes(9_000), bytes(16_384)))
parts = st.one_of(
    st.tuples(st.just("headers"), ids, fields, flags),
    st.tuples(st.just("continuation"), ids, data, flags),
    st.builds(lambda i, d, f: DataFrame(i or 1, d, flags=list(f - {"END_HEADERS"})), ids, data, flags),
    st.builds(lambda i, n: WindowUpdateFrame(i, n or 1), ids, numbers),
    st.builds(lambda i, n: RstStreamFrame(i or 1, n % 14), ids, numbers),
    st.builds(lambda i, n: PriorityFrame(i or 1, depends_on=n % 14), ids, numbers),
    st.builds(lambda k, n: SettingsFrame(0, {k: n}), st.sampled_from((1, 3, 4, 6, 99)), numbers),
    st.just(PingFrame(0, b"12345678")),
    st.just(GoAwayFrame(0)),
    st.builds(raw, st.integers(0, 20), ids, st.binary(max_size=30), st.integers(0, 255)),
)
events = st.one_of(
    st.tuples(st.just("send"), st.lists(parts, min_size=1, max_size=8)),
    st.tuples(st.just("bytes"), st.binary(min_size=1, max_size=60)),
    st.tuples(st.sampled_from(("stop taking", "take", "turn", "late", "goodbye", "half", "quiet"))),
)


def build(peer: Peer, part: Frame | bytes | tuple[str, int, object, set[str]]) -> Frame | bytes:
    """A frame; header blocks need the connection's encoder."""
    if not isinstance(part, tuple):
        return part
    kind, stream_id, content, marks = part
    if kind == "headers":
        assert isinstance(content, tuple)
        frame: HeadersFrame | ContinuationFrame = HeadersFrame(stream_id or 1, peer.encoder.encode(content))
    else:
        assert isinstance(content, bytes)
        frame = ContinuationFrame(stream_id or 1, content)
        marks = marks - {"END_STREAM"}
    for mark in marks:
        frame.flags.add(mark)
    return frame


async def play(script: list[tuple[object, ...]], opening: bytes | None) -> None:
    """Runs a client's actions and disconnects."""
    server = build_server()
    peer, has_ended = Peer(server, opening=opening), False
    for name, *details in script:
        if peer.wire.is_closing():
            break
        if has_ended and name in ("send", "bytes", "half"):
            continue
        if name == "send":
            peer.send(*[build(peer, part) for part in details[0]])  # type: ignore[attr-defined]
        elif name == "bytes":
            peer.send(details[0])  # type: ignore[arg-type]
        elif name == "stop taking":
            peer.wire.takes = False
        elif name == "take":
            peer.wire.take()
        elif name == "turn":
            await asyncio.sleep(0.0002)
        elif name == "late":
            await peer.wait(61)
        elif name == "half":
            has_ended = True
            if not peer.wire.protocol.eof_received():
                peer.wire.close()
        for connection in tuple(server.connections):
            if name == "goodbye":
                server.draining = True
                connection.say_goodbye()
            elif name == "quiet":
                connection.close_if_quiet(1e12)
        assert server.budget.used <= server.limits.budget
    await peer.leave()
    assert (server.budget.used, server.room.used, len(server.connections)) == (0, 0, 0)


@settings(deadline=None, max_examples=300)
@given(st.lists(events, max_size=15))
def test_nothing_is_held_for_a_client_that_has_left(script: list[tuple[object, ...]]) -> None:
    """Valid and invalid frames in any order, with open and closed windows, read and unread."""
    asyncio.run(play(script, None))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=40), max_size=10))
def test_nor_for_one_that_sends_any_bytes(pieces: list[bytes]) -> None:
    """After the preface or instead of it."""
    asyncio.run(play([("bytes", piece) for piece in pieces if piece], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))


@pytest.fixture(autouse=True)
def _no_mistakes(capsys: pytest.CaptureFixture[str]) -> object:
    """The log reports an internal error only if the endpoint raises one."""
    yield
    lines = capsys.readouterr().err.splitlines()
    assert not [line for line in lines if "RuntimeError('broken')" not in line]
