"""What one client can make the process hold and do over HTTP/2, and for how long."""

import asyncio
import re
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from hpack import Decoder, Encoder
from hpack.hpack import encode_integer
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

from podkit.http2.compression import Decoder as OurDecoder
from podkit.limits import Limits
from podkit.message import Abort, Delayed, Dialogue, Fields, Inflow, Request, Response
from podkit.routes import Route, Routes
from podkit.server import Server
from tests.http2 import GET, PREFACE, Peer, get, raw, serialize

REFUSED, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11
END = ["END_STREAM"]
NO_WINDOW = {SettingsFrame.INITIAL_WINDOW_SIZE: 0}


class Shop:
    """A server, and a record of its endpoints' calls."""

    def __init__(self, **limits: Any) -> None:
        self.calls: list[bytes] = []
        self.gone: list[bytes] = []
        self.gate = asyncio.Event()
        table = {
            b"/": Route(self.echo, reads_body=True),
            b"/bench": Route(lambda request: Response(body=b"1")),
            b"/big": Route(lambda request: Response(body=bytes(100_000))),
            b"/later": Route(lambda request: Delayed(0.02, lambda: self.echo(request))),
            b"/soon": Route(lambda request: Delayed(0.3, lambda: self.echo(request))),
            b"/much-later": Route(lambda request: Delayed(60, lambda: self.echo(request))),
            b"/shared": Route(lambda request: Response(body=[memoryview(bytes(100_000))])),
            b"/gate": Route(lambda request: Response(body=self.wait())),
            b"/abort": Route(lambda request: Abort()),
            b"/stream": Route(lambda request: Response(body=self.count(request))),
            b"/dialogue": Route(lambda request: Dialogue((), self.converse, ((b"told", b"goodbye"),))),
        }
        self.server = Server(Routes(table).find, limits=replace(Limits(), **limits))

    def echo(self, request: Request) -> Response:
        """The head's size and the body."""
        self.calls.append(request.head.path)
        size = sum(len(value) for values in request.head.headers.values() for value in values)
        return Response(body=bytes(size) + bytes(request.body))

    async def wait(self) -> AsyncIterator[bytes]:
        """A body that is sent when the gate opens."""
        await self.gate.wait()
        yield b"open"

    async def count(self, request: Request) -> AsyncIterator[bytes]:
        """Numbers, as long as the client reads."""
        try:
            for number in range(100):
                self.calls.append(b"%d" % number)
                yield b"%d\n" % number * 100
        finally:
            self.gone.append(b"/stream")

    async def converse(self, inflow: Inflow) -> AsyncIterator[bytes | Fields]:
        """Everything twice."""
        async for block in inflow.blocks():
            yield block * 2
        yield ((b"told", b"all"),)


def codes(frames: list[Any]) -> list[tuple[int, int]]:
    """Which streams were reset, and with which codes; 0 is the connection."""
    ends = [frame for frame in frames if isinstance(frame, RstStreamFrame | GoAwayFrame)]
    return [(frame.stream_id, frame.error_code) for frame in ends]


async def everything_is_given_back(shop: Shop, *peers: Peer) -> None:
    """All memory is returned after the client has disconnected."""
    for peer in peers:
        await peer.leave()
    assert (shop.server.budget.used, shop.server.room.used) == (0, 0)
    assert not shop.server.connections


# concurrent streams, and their memory


async def test_250_streams_are_answered_and_the_next_is_refused() -> None:
    """It may be retried."""
    shop = Shop()
    peer = Peer(shop.server)
    frames = await peer.ask(*[peer.headers(number, *get("/gate")) for number in range(1, 503, 2)])
    assert codes(frames) == [(501, REFUSED)]
    shop.gate.set()
    await peer.settle(500)
    assert [peer.body(number) for number in range(1, 501, 2)] == [b"open"] * 250
    assert await peer.outcome(peer.headers(503)) == "answer 200"
    await everything_is_given_back(shop, peer)


def bomb(peer: Peer, stream_id: int) -> HeadersFrame:
    """A head of half a megabyte in a few hundred bytes."""
    return peer.headers(stream_id, *get("/"), *[("x", "A" * 3990)] * 130)


async def test_no_answer_is_made_that_nobody_takes() -> None:
    """With a closed window, a client gets few answers created, and its requests are charged and bounded."""
    shop = Shop(budget=8 << 20)
    peer, other = Peer(shop.server, NO_WINDOW), Peer(shop.server)
    frames = await peer.ask(*[bomb(peer, number) for number in range(1, 501, 2)])
    await peer.settle(1000)
    assert len(shop.calls) == 1
    assert shop.server.budget.used <= 8 << 20
    refused = [stream_id for stream_id, code in codes(peer.seen) if code == REFUSED]
    assert len(refused) > 230
    assert await other.outcome(other.headers(1)) == "answer 200"
    frames = await peer.wait(61)
    assert {code for _, code in codes(frames)} == {CANCEL}
    assert shop.server.budget.used == 0
    await everything_is_given_back(shop, peer, other)


async def test_small_fields_are_charged_for_what_they_take() -> None:
    """They cost more memory than their bytes."""
    shop = Shop()
    peer = Peer(shop.server)
    fields = [(f"x-{number}", "1") for number in range(490)]
    await peer.ask(peer.headers(1, *get("/much-later"), *fields))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        used = shop.server.budget.used
        await peer.ask(peer.headers(3, *get("/much-later"), *fields))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.5 * grown < shop.server.budget.used - used < 3 * grown
    await everything_is_given_back(shop, peer)


async def test_answers_follow_once_there_is_a_window() -> None:
    """All deferred ones, in turns."""
    shop = Shop()
    peer = Peer(shop.server, NO_WINDOW)
    await peer.ask(*[bomb(peer, number) for number in range(1, 21, 2)])
    assert len(shop.calls) == 1
    await peer.ask(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20}))
    peer.send(WindowUpdateFrame(0, 1 << 30))
    await peer.settle(2000)
    assert [len(peer.body(number)) for number in range(1, 21, 2)] == [130 * 3990] * 10
    assert not codes(peer.seen)
    await everything_is_given_back(shop, peer)


async def test_an_answer_with_a_window_of_a_byte_holds_up_the_next() -> None:
    """A connection's answers are created ahead only up to a bound."""
    shop = Shop(window=1 << 20)
    peer = Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 1})
    await peer.ask(*[bomb(peer, number) for number in range(1, 101, 2)])
    await peer.settle(500)
    assert 1 <= len(shop.calls) <= 3
    await everything_is_given_back(shop, peer)


@pytest.mark.parametrize("path", ["/big", "/", "/stream", "/dialogue"])
async def test_an_answer_that_nobody_takes_is_given_up(path: str) -> None:
    """After the timeout, however it is created; the connection continues."""
    shop = Shop()
    peer = Peer(shop.server, NO_WINDOW)
    await peer.ask(peer.headers(1, *get(path, method="POST"), ended=False), DataFrame(1, b"hello", flags=END))
    assert codes(await peer.wait(59)) == []
    assert shop.server.budget.used > 0
    assert codes(await peer.wait(61)) == [(1, CANCEL)]
    assert shop.server.budget.used == 0
    assert shop.gone == ([b"/stream"] if path == "/stream" else [])
    peer.send(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 100}))
    assert await peer.outcome(peer.headers(3)) == "answer 200"
    await everything_is_given_back(shop, peer)


async def test_an_answer_that_is_taken_slowly_is_not_given_up() -> None:
    """A byte now and then is enough."""
    shop = Shop()
    peer = Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 1})
    await peer.ask(peer.headers(1, *get("/big")))
    for _ in range(3):
        assert codes(await peer.wait(59)) == []
        await peer.ask(WindowUpdateFrame(1, 1))
    assert len(peer.body(1)) == 4
    await everything_is_given_back(shop, peer)


async def test_a_client_that_reads_nothing_is_let_go() -> None:
    """Unsent bytes are charged; after the timeout, the connection is reset."""
    shop = Shop()
    peer = Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 30})
    await peer.ask(WindowUpdateFrame(0, 1 << 30))
    peer.wire.takes = False
    await peer.ask(*[peer.headers(number, *get("/big")) for number in range(1, 101, 2)])
    assert not peer.wire.reads
    assert 0 < len(peer.wire.buffer) < 200_000
    assert len(peer.wire.buffer) < shop.server.budget.used < 2 << 20
    ends = []
    for seconds in (0, 59, 61):
        await peer.wait(seconds)
        ends.append(peer.wire.end)
    assert ends == ["", "", "abort"]
    await everything_is_given_back(shop, peer)


async def test_what_a_client_leaves_unread_is_charged() -> None:
    """Even if its answer shares memory with others; a client without room is disconnected."""
    for budget, end in ((1 << 20, ""), (60_000, "abort")):
        shop = Shop(budget=budget)
        peer = Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 30})
        await peer.ask(WindowUpdateFrame(0, 1 << 30))
        peer.wire.takes = False
        await peer.ask(peer.headers(1, *get("/shared")))
        assert peer.wire.end == end
        assert end or shop.server.budget.used >= len(peer.wire.buffer) > 60_000
        await everything_is_given_back(shop, peer)


async def test_a_head_is_not_late_while_its_client_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server pauses reading while the client does not read."""
    shop, clock = Shop(), time.monotonic
    peer = Peer(shop.server)
    peer.wire.takes = False
    await peer.ask(peer.headers(1), HeadersFrame(3, peer.encoder.encode(GET), flags=["END_STREAM"]))
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 30)
    peer.wire.take()
    assert codes(await peer.wait(0)) == []
    assert await peer.outcome(ContinuationFrame(3, b"", flags=["END_HEADERS"])) == "answer 200"
    await everything_is_given_back(shop, peer)


async def test_a_dialogue_that_ends_early_gives_its_window_back() -> None:
    """Data that it did not take does not block the connection's other streams."""
    shop = Shop()
    peer = Peer(shop.server)
    for number in range(1, 401, 2):
        peer.send(peer.headers(number, *get("/dialogue", method="POST"), ended=False))
        peer.send(DataFrame(number, bytes(12_000)), RstStreamFrame(number))
        await peer.settle(2)
    assert codes(peer.seen) == []
    assert await peer.outcome(peer.headers(401)) == "answer 200"
    await everything_is_given_back(shop, peer)


async def test_a_client_that_reads_late_gets_everything() -> None:
    """It gets more as it reads, and more is generated then."""
    shop = Shop()
    peer = Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20})
    await peer.ask(WindowUpdateFrame(0, 1 << 30))
    peer.wire.takes = False
    await peer.ask(*[peer.headers(number, *get("/big")) for number in range(1, 41, 2)])
    peer.wire.take()
    await peer.settle(200)
    assert [len(peer.body(number)) for number in range(1, 41, 2)] == [100_000] * 20
    assert peer.wire.reads
    await everything_is_given_back(shop, peer)


async def test_bodies_share_the_budget() -> None:
    """Later requests get 503, or a reset if the answer has begun; others notice nothing."""
    shop = Shop(budget=300_000)
    peers = [Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20}) for _ in range(3)]
    for peer in peers:
        peer.send(WindowUpdateFrame(0, 1 << 20), peer.headers(1, *get("/", method="POST"), ended=False))
        for _ in range(10):
            await peer.ask(DataFrame(1, bytes(12_000)))
    assert [peer.fields[-1][":status"] for peer in peers if peer.fields] == ["503"]
    assert shop.server.budget.used <= 300_000
    other = Peer(shop.server)
    assert await other.outcome(other.headers(1)) == "answer 200"
    for peer in peers[:2]:
        await peer.ask(DataFrame(1, b"", flags=END))
        assert len(peer.body(1)) == 120_000
    await everything_is_given_back(shop, *peers, other)


async def test_a_dialogue_shares_the_budget() -> None:
    """Its untaken input and unsent output are charged; without room, it is reset."""
    shop = Shop(budget=100_000)
    peer = Peer(shop.server, NO_WINDOW)
    peer.send(peer.headers(1, *get("/dialogue", method="POST"), ended=False))
    for _ in range(20):
        await peer.ask(DataFrame(1, bytes(8000)))
    assert codes(peer.seen) == [(1, ENHANCE_YOUR_CALM)]
    assert shop.server.budget.used == 0
    peer.send(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 100}))
    assert await peer.outcome(peer.headers(3)) == "answer 200"
    await everything_is_given_back(shop, peer)


async def test_connections_share_the_room() -> None:
    """A connection without room gets ENHANCE_YOUR_CALM."""
    shop = Shop(connections=2 * (Limits().http2_cost + Limits().connection_cost))
    peers = [Peer(shop.server) for _ in range(3)]
    assert [codes(await peer.settle()) for peer in peers] == [[], [], [(0, ENHANCE_YOUR_CALM)]]
    assert await peers[0].outcome(peers[0].headers(1)) == "answer 200"
    await everything_is_given_back(shop, *peers)


async def test_what_does_not_fit_the_budget_unread_ends_the_connection() -> None:
    """Partial frames and header blocks count."""
    shop = Shop(budget=30_000)
    peer = Peer(shop.server)
    peer.send(HeadersFrame(1, bytes(16_000)), ContinuationFrame(1, bytes(16_000)))
    assert codes(await peer.settle()) == [(0, ENHANCE_YOUR_CALM)]
    await everything_is_given_back(shop, peer)


async def test_a_header_block_is_bounded() -> None:
    """However it is split."""
    shop = Shop(max_head=100_000)
    peer = Peer(shop.server)
    frames = await peer.ask(HeadersFrame(1, b""), *[ContinuationFrame(1, bytes(16_000))] * 7)
    assert codes(frames) == [(0, ENHANCE_YOUR_CALM)]
    other = Peer(shop.server)
    assert codes(await other.ask(bomb(other, 1))) == [(0, ENHANCE_YOUR_CALM)]
    await everything_is_given_back(shop, peer, other)


def huffman_coded(stream_id: int, code: bytes) -> list[Frame]:
    """A request for / with a field of Huffman code."""
    length = encode_integer(len(code), 7)
    length[0] |= 0x80
    block = Encoder().encode(get("/")) + b"\0\1x" + length + code
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    last = ContinuationFrame(stream_id, pieces.pop(), flags=["END_HEADERS"])
    first = HeadersFrame(stream_id, pieces[0], flags=END)
    return [first, *[ContinuationFrame(stream_id, piece) for piece in pieces[1:]], last]


AS = b"\x18\xc6\x31\x8c\x63"  # eight times the letter a


async def test_a_large_header_block_is_decoded_in_steps() -> None:
    """Other clients are answered meanwhile; the block is charged, and its connection not read."""
    shop = Shop(turn_time=0)
    peer, other = Peer(shop.server), Peer(shop.server)
    await peer.settle()
    peer.send(*huffman_coded(1, AS * 30_000))
    assert shop.server.budget.used > 150_000
    assert not peer.wire.reads
    other.send(other.headers(1))
    await other.first_answer()
    assert (len(other.fields), len(peer.fields)) == (1, 0)
    while not peer.fields:
        assert shop.server.budget.used > 150_000
        await peer.settle(1)
    assert peer.fields[0]["content-length"] == "240000"
    await everything_is_given_back(shop, peer, other)


@pytest.mark.parametrize("code", [AS * 4000 + b"\x18", AS * 4000 + b"\xff" * 4], ids=["incomplete", "no code"])
async def test_a_long_invalid_text_ends_the_connection(code: bytes) -> None:
    """As a short one does."""
    shop = Shop()
    peer = Peer(shop.server)
    assert codes(await peer.ask(*huffman_coded(1, code))) == [(0, 9)]
    await everything_is_given_back(shop, peer)


async def test_a_client_may_leave_while_its_header_block_is_decoded() -> None:
    """Nothing remains of it."""
    shop = Shop(turn_time=0)
    peer = Peer(shop.server)
    await peer.settle()
    peer.send(*huffman_coded(1, AS * 30_000))
    await everything_is_given_back(shop, peer)


async def test_the_fields_of_a_block_are_bounded() -> None:
    """A few hundred bytes must not become a hundred thousand fields."""
    shop = Shop()
    for block in (b"\x82" * 2001, b"\x20" * 3 + b"\x82"):
        peer = Peer(shop.server)
        assert codes(await peer.ask(raw(1, 1, block, 5)))[0][0] == 0
        await everything_is_given_back(shop, peer)


async def test_streams_that_are_over_are_forgotten() -> None:
    """A long-lived connection costs no more than a new one."""
    shop = Shop()
    peer = Peer(shop.server)
    for number in range(1, 2000, 2):
        await peer.ask(peer.headers(number))
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        for number in range(2001, 6000, 2):
            await peer.ask(peer.headers(number))
        peer.seen.clear()
        peer.fields.clear()
        grown = tracemalloc.take_snapshot().compare_to(before, "filename")
    finally:
        tracemalloc.stop()
    ours = [
        entry for entry in grown if not re.search("/tests/|/hpack/|/hyperframe/", entry.traceback[0].filename)
    ]
    assert sum(entry.size_diff for entry in ours) < 20_000
    await everything_is_given_back(shop, peer)


# work


async def test_a_read_is_worked_off_in_turns() -> None:
    """Other clients get their turns in between; meanwhile nothing more is read."""
    shop = Shop()
    peer = Peer(shop.server)
    await peer.settle()
    peer.send(*[peer.headers(number) for number in range(1, 1001, 2)])
    answered = sum(isinstance(frame, HeadersFrame) for frame in peer.new())
    assert 0 < answered <= 64
    assert not peer.wire.reads
    other = Peer(shop.server)
    assert await other.outcome(other.headers(1)) == "answer 200"
    await peer.settle()
    assert len(peer.fields) == 500
    assert peer.wire.reads
    await everything_is_given_back(shop, peer, other)


async def test_expensive_requests_take_turns() -> None:
    """However few bytes they have."""
    shop = Shop(turn_time=0)
    peer, other = Peer(shop.server), Peer(shop.server)
    await peer.settle()
    peer.send(*[peer.headers(number) for number in range(1, 41, 2)])
    other.send(other.headers(1))
    await other.first_answer()
    assert len(other.fields) == 1
    peer.new()
    assert len(peer.fields) < 10
    await peer.settle(100)
    assert len(peer.fields) == 20
    await everything_is_given_back(shop, peer, other)


async def test_answers_that_are_due_at_once_take_turns() -> None:
    """Thousands of clients may wait for the same moment."""
    shop = Shop(turn_time=0)
    peer = Peer(shop.server)
    await peer.ask(*[peer.headers(number, *get("/soon")) for number in range(1, 41, 2)])
    time.sleep(0.35)  # noqa: ASYNC251  # all are due now
    await peer.first_answer()
    assert len(peer.fields) < 5
    await peer.settle()
    assert len(peer.fields) == 20
    await everything_is_given_back(shop, peer)


async def test_an_answer_that_waits_for_its_turn_may_be_cancelled() -> None:
    """Then its endpoint is not called any more."""
    shop = Shop(turn_time=0)
    peer = Peer(shop.server)
    await peer.ask(*[peer.headers(number, *get("/soon")) for number in (1, 3, 5)])
    time.sleep(0.35)  # noqa: ASYNC251  # all are due now
    await peer.first_answer()
    frames = await peer.ask(RstStreamFrame(5, 8))
    assert len(peer.fields) == len(shop.calls) == 2
    assert all(frame.stream_id != 5 for frame in frames)
    await everything_is_given_back(shop, peer)


async def test_a_long_read_waits_for_deferred_work() -> None:
    """And its connection is not read meanwhile; a short one does not wait."""
    shop = Shop()
    peer, other = Peer(shop.server), Peer(shop.server)
    await peer.settle()
    shop.server.turns.put_off(lambda: None)
    unknown = raw(99, 0, bytes(1000))
    peer.send(*[peer.headers(number) for number in range(1, 41, 2)], unknown)
    other.send(other.headers(1))
    assert (len(peer.new()), other.new() != []) == (0, True)
    await peer.settle()
    assert len(peer.fields) == 20
    assert peer.wire.reads
    await everything_is_given_back(shop, peer, other)


async def test_answers_are_written_together() -> None:
    """Those of one turn in one write."""
    shop = Shop()
    peer = Peer(shop.server)
    await peer.settle()
    before = peer.wire.writes
    peer.send(*[peer.headers(number) for number in range(1, 21, 2)])
    assert peer.wire.writes == before + 1
    await everything_is_given_back(shop, peer)


FLOODS: dict[str, Callable[[Peer], list[Frame | bytes]]] = {
    "windows": lambda c: [WindowUpdateFrame(0, 1)] * 5000,
    "windows of a stream": lambda c: [c.headers(1, *get("/much-later")), *[WindowUpdateFrame(1, 1)] * 5000],
    "windows of a stream that is over": lambda c: [c.headers(1), *[WindowUpdateFrame(1, 1)] * 5000],
    "pings": lambda c: [PingFrame(0, bytes(8))] * 5000,
    "answers to pings": lambda c: [PingFrame(0, bytes(8), flags=["ACK"])] * 5000,
    "settings": lambda c: [SettingsFrame(0)] * 5000,
    "answers to settings": lambda c: [SettingsFrame(0, flags=["ACK"])] * 5000,
    "priorities": lambda c: [PriorityFrame(1, depends_on=3)] * 5000,
    "goodbyes": lambda c: [c.headers(1, *get("/much-later")), *[GoAwayFrame(0)] * 5000],
    "unknown frames": lambda c: [raw(99, 0, b"x")] * 5000,
    "resets": lambda c: [
        frame
        for number in range(1, 10_000, 2)
        for frame in (c.headers(number, *get("/much-later")), RstStreamFrame(number))
    ],
    "malformed requests": lambda c: [c.headers(number, *GET[1:]) for number in range(1, 10_000, 2)],
    "refused streams": lambda c: [c.headers(number, *get("/much-later")) for number in range(1, 10_000, 2)],
    "no data": lambda c: [c.headers(1, *get("/"), ended=False), *[DataFrame(1)] * 5000],
    "data of a byte": lambda c: [c.headers(1, *get("/"), ended=False), *[DataFrame(1, b"x")] * 5000],
    "data of a byte that nobody reads": lambda c: [
        c.headers(1, *get("/bench"), ended=False),
        *[DataFrame(1, b"x")] * 5000,
    ],
    "data and padding": lambda c: [
        c.headers(1, *get("/"), ended=False),
        *[DataFrame(1, b"x", pad_length=200, flags=["PADDED"])] * 5000,
    ],
    "data on a stream that is over": lambda c: [c.headers(1), *[DataFrame(1, b"x")] * 5000],
    "continuations": lambda c: [HeadersFrame(1, b""), *[ContinuationFrame(1, b"")] * 5000],
}


@pytest.mark.parametrize("name", FLOODS)
async def test_frames_that_ask_for_nothing_but_work_are_bounded(name: str) -> None:
    """The connection closes, and the rest of the flood is ignored."""
    shop = Shop()
    peer = Peer(shop.server)
    peer.send(*FLOODS[name](peer))
    frames = await peer.settle(500)
    assert codes(frames)[-1] == (0, ENHANCE_YOUR_CALM)
    assert len(frames) < 2500
    await everything_is_given_back(shop, peer)


async def test_windows_for_what_is_sent_are_no_flood() -> None:
    """A long download may be acknowledged frame by frame."""
    shop = Shop(flood_refill=0)
    peer = Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 2000})
    await peer.settle()
    taken = 0
    for number in range(1, 101, 2):
        taken = 0
        peer.send(peer.headers(number, *get("/big")))
        while taken < 100_000:
            new = sum(len(frame.data) for frame in await peer.settle() if isinstance(frame, DataFrame))
            assert new, peer.seen[-1]
            taken += new
            peer.send(WindowUpdateFrame(0, new), WindowUpdateFrame(number, new))
    assert not codes(peer.seen)
    await everything_is_given_back(shop, peer)


async def test_frames_about_answers_are_no_flood() -> None:
    """A client may send a ping, a window update and a priority with every request."""
    shop = Shop(flood_refill=0)
    peer = Peer(shop.server)
    for number in range(1, 6001, 2):
        peer.send(peer.headers(number), PingFrame(0, bytes(8)), WindowUpdateFrame(0, 1))
    await peer.settle(500)
    assert len(peer.fields) == 3000
    assert not codes(peer.seen)
    await everything_is_given_back(shop, peer)


def test_a_header_block_costs_its_length_and_not_its_square() -> None:
    """A decoder that copies the rest of the block for each field would take quadratic time."""

    def cost(fields: int) -> float:
        block, times = b"\x00\x01a\x01b" * fields, []
        for _ in range(5):
            start = time.process_time()
            assert sum(OurDecoder(1 << 30, 1 << 20).decode(block)) == 34 * fields
            times.append(time.process_time() - start)
        return min(times)

    assert cost(32_000) < 10 * cost(8_000)  # four times as many fields; quadratic would be 16


async def test_the_client_does_not_size_our_table() -> None:
    """We encode without one: nothing is kept, whatever a client offers."""
    shop = Shop()
    for size in (0, 4096, 2**32 - 1):
        peer = Peer(shop.server, {SettingsFrame.HEADER_TABLE_SIZE: size})
        peer.decoder = Decoder()
        peer.decoder.max_allowed_table_size = size
        for number in range(1, 100, 2):
            assert await peer.outcome(peer.headers(number)) == "answer 200"
        assert not peer.decoder.header_table.dynamic_entries
        await everything_is_given_back(shop, peer)


# timeouts


async def test_a_head_that_trickles_ends() -> None:
    """Neither frames nor parts of one extend it."""
    openings = (
        lambda c: [HeadersFrame(1, b"\x82")],
        lambda c: [c.headers(1).serialize()[:12]],
        lambda c: [b"\0"],
        lambda c: [c.headers(1), HeadersFrame(3, b"\x82")],
    )
    for opening in openings:
        shop = Shop()
        peer = Peer(shop.server)
        await peer.ask(*opening(peer))
        assert codes(await peer.wait(9)) == []
        assert codes(await peer.wait(11)) == [(0, ENHANCE_YOUR_CALM)]
        await everything_is_given_back(shop, peer)


async def test_half_a_preface_ends() -> None:
    """Even if TLS negotiated HTTP/2 before."""
    shop = Shop()
    peer = Peer(shop.server, opening=PREFACE)
    await peer.ask(b"\0\0")
    assert codes(await peer.wait(11)) == [(0, ENHANCE_YOUR_CALM)]
    await everything_is_given_back(shop, peer)


async def test_a_head_that_is_not_late_does_not_end() -> None:
    """Each has its own timeout, even if the last read contained the end of one and the start of another."""
    shop = Shop()
    peer = Peer(shop.server)
    wire = serialize(*[peer.headers(number) for number in (1, 3, 5)])
    for part in (wire[:20], wire[20:50], wire[50:]):
        await peer.ask(part)
    assert len(peer.fields) == 3
    assert codes(await peer.wait(11)) == []
    await everything_is_given_back(shop, peer)


async def test_a_body_that_stalls_gets_408() -> None:
    """The rest of it is ignored."""
    shop = Shop()
    peer = Peer(shop.server)
    await peer.ask(peer.headers(1, *get("/", method="POST"), ended=False), DataFrame(1, b"hello"))
    assert codes(await peer.wait(59)) == []
    await peer.wait(61)
    assert [fields[":status"] for fields in peer.fields] == ["408"]
    assert codes(peer.seen) == [(1, 0)]  # a moment later in simulated time
    await peer.ask(DataFrame(1, b"more", flags=END))
    assert shop.server.budget.used == 0
    assert await peer.outcome(peer.headers(3)) == "answer 200"
    await everything_is_given_back(shop, peer)


async def test_an_idle_connection_is_closed() -> None:
    """With GOAWAY, after the timeout; one that waits for an answer is not idle."""
    shop = Shop()
    peer, busy = Peer(shop.server), Peer(shop.server)
    assert await peer.outcome(peer.headers(1)) == "answer 200"
    await busy.ask(busy.headers(1, *get("/much-later")))
    assert codes(await peer.wait(74)) == []
    assert codes(await peer.wait(76)) == [(0, 0)]
    assert peer.wire.end == "eof"
    assert not busy.wire.end
    await everything_is_given_back(shop, peer, busy)


async def test_a_request_that_is_reset_costs_nothing_more() -> None:
    """Its endpoint is not called any more, and its memory is free."""
    shop = Shop()
    peer = Peer(shop.server)
    await peer.ask(peer.headers(1, *get("/later")), peer.headers(3, *get("/stream")), RstStreamFrame(1))
    used = shop.server.budget.used
    await peer.ask(RstStreamFrame(3))
    assert shop.server.budget.used == 0
    assert used <= 2 * shop.server.limits.stream_cost
    await asyncio.sleep(0.05)
    assert b"/later" not in shop.calls
    assert shop.gone == [b"/stream"]
    await everything_is_given_back(shop, peer)


async def test_a_half_closed_client_gets_its_answers_for_a_time() -> None:
    """Complete requests are answered; incomplete ones are dropped."""
    shop = Shop()
    peer = Peer(shop.server)
    await peer.ask(peer.headers(1, *get("/gate")), peer.headers(3, *get("/"), ended=False))
    assert peer.wire.protocol.eof_received()
    shop.gate.set()
    await peer.settle()
    assert (peer.body(1), len(peer.fields), peer.wire.end) == (b"open", 1, "close")
    await everything_is_given_back(shop, peer)
    waiting = Peer(shop.server)
    await waiting.ask(waiting.headers(1, *get("/much-later")))
    assert waiting.wire.protocol.eof_received()
    ends = []
    for seconds in (9, 11):
        await waiting.wait(seconds)
        ends.append(waiting.wire.end)
    assert ends == ["", "abort"]
    await everything_is_given_back(shop, waiting)


# all kinds of answers


async def test_an_aborted_answer_is_a_reset() -> None:
    """Of its stream only."""
    shop = Shop()
    peer = Peer(shop.server)
    assert await peer.outcome(peer.headers(1, *get("/abort"))) == "reset 1 2"
    assert await peer.outcome(peer.headers(3)) == "answer 200"
    await everything_is_given_back(shop, peer)


async def test_a_stream_of_unknown_length_is_made_as_it_is_taken() -> None:
    """Each block is generated after the previous one was sent; the last frame ends the stream."""
    shop = Shop()
    peer = Peer(shop.server, {SettingsFrame.INITIAL_WINDOW_SIZE: 500})
    await peer.ask(peer.headers(1, *get("/stream")))
    assert len(shop.calls) < 5
    assert "content-length" not in peer.fields[-1]
    await peer.ask(WindowUpdateFrame(1, 1 << 20))
    frames = await peer.settle(500)
    assert peer.body(1) == b"".join(b"%d\n" % number * 100 for number in range(100))
    assert "END_STREAM" in frames[-1].flags
    assert shop.gone == [b"/stream"]
    await everything_is_given_back(shop, peer)


async def test_a_dialogue_answers_while_it_is_asked() -> None:
    """It ends with its trailers; on shutdown, with its farewell."""
    shop = Shop()
    peer = Peer(shop.server)
    await peer.ask(peer.headers(1, *get("/dialogue", method="POST"), ended=False), DataFrame(1, b"ab"))
    assert peer.body(1) == b"abab"
    await peer.ask(DataFrame(1, b"c", flags=END))
    assert peer.body(1) == b"ababcc"
    assert peer.fields[-1] == {"told": "all"}
    await peer.ask(peer.headers(3, *get("/dialogue", method="POST"), ended=False))
    shop.server.draining = True
    for connection in shop.server.connections:
        connection.say_goodbye()
    await peer.settle()
    assert peer.fields[-1] == {"told": "goodbye"}
    await everything_is_given_back(shop, peer)


UPGRADE = (
    b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
)


async def test_after_an_upgrade_bodies_wait_for_the_preface() -> None:
    """A client that cannot buffer them before it has processed the 101 gets them later."""
    shop = Shop()
    peer = Peer(shop.server, opening=UPGRADE)
    for _ in range(20):
        await asyncio.sleep(0)
    start, end, rest = bytes(peer.wire.taken).partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 101 ")
    assert len(rest) < 200
    del peer.wire.taken[: len(start + end)]
    frames = await peer.settle()
    assert not [frame for frame in frames if isinstance(frame, DataFrame)]
    assert peer.fields[-1][":status"] == "200"
    await peer.ask(serialize(PREFACE, SettingsFrame(0)), WindowUpdateFrame(0, 1 << 20))
    assert len(peer.body(1)) == 100_000
    await everything_is_given_back(shop, peer)


async def test_after_an_upgrade_the_preface_has_a_time() -> None:
    """Like every head."""
    shop = Shop()
    peer = Peer(shop.server, opening=UPGRADE)
    await asyncio.sleep(0.01)
    await_end = bytes(peer.wire.taken).partition(b"\r\n\r\n")
    del peer.wire.taken[: len(await_end[0]) + 4]
    assert codes(await peer.wait(9)) == []
    assert codes(await peer.wait(11)) == [(0, ENHANCE_YOUR_CALM)]
    await everything_is_given_back(shop, peer)
