"""HTTP/1.1 connections: abuse that they survive, and what they hold for a client."""

import asyncio
import socket
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podkit.limits import Limits
from podkit.message import Answer, Delayed, Head, Request, Response, Upgrade
from podkit.routes import Route
from tests.http2 import Wire
from tests.inprocess import Clock, Running, running, turn, until

QUICK = Limits(head_timeout=0.6, body_timeout=0.4, idle_timeout=0.6, send_timeout=0.4, check_interval=0.05)
WAIT = b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Table:
    """A few endpoints that count their calls."""

    def __init__(self, delay: float = 0.0) -> None:
        self.calls: Counter[bytes] = Counter()
        self._delay = delay

    def find(self, head: Head) -> Route:
        """The route of a path."""
        return Route(self._answer, reads_body=head.path.startswith(b"/body"))

    def _answer(self, request: Request) -> Answer:
        path = request.head.path
        self.calls[path] += 1
        if path == b"/wait":
            return Delayed(self._delay, lambda: Response(body=b"waited"))
        if path == b"/slow":
            time.sleep(0.003)
        if path == b"/body/echo":
            return Response(body=[b"%d" % len(request.body)], length=7)
        if path == b"/blocks":
            return Response(body=[b"ab", b"cd"], length=4)
        if path == b"/endless":
            return Response(body=(bytes(1 << 16) for _ in range(1 << 20)), length=1 << 36)
        if path == b"/stream":
            return Response(body=self._stream())
        if path == b"/socket":
            return Upgrade(lambda message: message)
        if path == b"/mistake":
            raise RuntimeError("a mistake of ours")
        return Response(body=b"%d" % len(request.body))

    async def _stream(self) -> AsyncIterator[bytes]:
        yield b"ab"
        await asyncio.sleep(0)
        yield b"cd"


@pytest.fixture
async def quick() -> AsyncIterator[Running]:
    """A server with short timeouts; answers to /wait take an hour."""
    async with running(Table(3600).find, QUICK) as server:
        yield server


def closing(path: bytes, extra: bytes = b"", body: bytes = b"") -> bytes:
    """A request after which the connection closes."""
    return b"POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n%s" % (path, extra, body)


@pytest.mark.parametrize("path", [b"/", b"/wait", b"/blocks", b"/stream", b"/body", b"/mistake"])
async def test_an_endpoint_is_called_once_for_a_request(path: bytes) -> None:
    """Whatever kind of answer it returns, and also if the request arrives byte by byte."""
    table = Table()
    raw = closing(path, b"Content-Length: 3\r\n", b"abc")
    async with running(table.find) as server:
        await server.ask(raw)
        reader, writer = await server.connect()
        for byte in raw:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert await reader.read()
        writer.close()
        await server.let_go()
    assert table.calls == {path: 2}


@pytest.mark.parametrize("nothing", [b"\n\n", b"\n\r\n", b"\r\n\r\n"])
async def test_an_empty_head_is_refused(quick: Running, nothing: bytes) -> None:
    """A connection's first request does not repeat anything."""
    assert (await quick.ask(nothing)).startswith(b"HTTP/1.1 400 ")


async def test_a_body_of_unknown_length_comes_in_chunks() -> None:
    """Over HTTP/1.1; HTTP/1.0 gets it unframed, until the connection closes."""
    async with running(Table().find) as server:
        answer = await server.ask(closing(b"/stream"))
        assert answer.partition(b"\r\n\r\n")[2] == b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
        old = await server.ask(b"GET /stream HTTP/1.0\r\n\r\n")
        assert old.partition(b"\r\n\r\n")[2] == b"abcd"


async def test_heads_that_end_in_time_are_answered_however_long_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The timeout of a head starts with its own first byte, not with the previous head."""
    clock, head_timeout = Clock(monkeypatch), Limits().head_timeout
    async with running(Table().find) as server:
        reader, writer = await server.connect()
        writer.write(GET[:9])
        for _ in range(6):  # in all twice the timeout of one head
            clock.forward(head_timeout / 3)
            writer.write(GET[9:] + GET[:9])
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            await reader.readexactly(1)
        clock.forward(head_timeout + 1)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


@pytest.mark.parametrize("ahead", [0, 34, 4000], ids=["nothing", "a-little", "more-than-is-read-ahead"])
async def test_a_client_that_leaves_while_it_waits_is_noticed(quick: Running, ahead: int) -> None:
    """Whatever it has pipelined."""
    _, writer = await quick.connect()
    writer.write(WAIT + GET * ahead)
    await writer.drain()
    writer.close()
    await quick.let_go()


async def test_a_client_whose_end_cannot_be_noticed_is_not_waited_for(quick: Running) -> None:
    """It has sent more than is read ahead, so its end would stay behind that; its answer takes an hour."""
    reader, writer = await quick.connect()
    writer.write(WAIT + GET * 400_000)
    with pytest.raises(ConnectionError):
        await reader.readexactly(1)
    writer.close()
    await quick.let_go()


async def test_a_half_closed_client_gets_all_its_answers() -> None:
    """Even those that begin over a second after its half-close, one after the other."""
    async with running(Table(0.6).find) as server:
        reader, writer = await server.connect()
        writer.write(WAIT * 3)
        writer.write_eof()
        assert (await reader.read()).count(b"\r\n\r\nwaited") == 3
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET[:20], b"408"),
        (closing(b"/body", b"Content-Length: 9\r\n", b"half"), b"408"),
        (closing(b"/body", b"Transfer-Encoding: chunked\r\n", b"5\r\nha"), b"408"),
        (b"", b""),
        (GET, b"200"),
    ],
    ids=["head", "body", "chunks", "nothing", "idle"],
)
async def test_what_stands_still_is_ended(quick: Running, sent: bytes, status: bytes) -> None:
    """Heads, bodies and idle connections have timeouts."""
    answer = await quick.ask(sent)
    assert answer[9:12] == status
    await quick.let_go()


async def test_an_answer_that_nobody_takes_is_given_up(quick: Running) -> None:
    """A client that does not read keeps a download only for a while."""
    _, writer = await quick.connect()
    writer.write(closing(b"/endless"))
    await quick.let_go()
    writer.close()


async def test_a_slow_reader_gets_its_download() -> None:
    """As long as it reads some bytes now and then, it is not aborted."""
    limits = Limits(send_timeout=1.5, check_interval=0.05)
    async with running(Table().find, limits) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        await loop.sock_sendall(client, closing(b"/endless"))
        for _ in range(8):
            await asyncio.sleep(limits.send_timeout / 6)
            assert len(await loop.sock_recv(client, 1 << 14)) > 0
        assert len(server.server.connections) == 1
        client.close()
        await server.let_go()


async def test_bodies_share_a_budget() -> None:
    """Later requests get 503 and Retry-After; earlier ones continue."""
    async with running(Table().find, Limits(budget=1 << 20)) as server:
        reader, writer = await server.connect()
        raw = closing(b"/body", b"Content-Length: 900000\r\n")
        writer.write(raw + bytes(800_000))
        await until(lambda: server.server.budget.used >= 800_000)
        refused = await server.ask(raw + bytes(900_000))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        assert (await server.ask(closing(b"/"))).endswith(b"\r\n\r\n0")
        writer.write(bytes(100_000))
        assert (await reader.read()).endswith(b"\r\n\r\n900000")
        writer.close()
        await server.let_go()


async def test_a_head_costs_as_much_as_it_holds() -> None:
    """Incomplete heads are charged to the budget as well."""
    async with running(Table().find, Limits(budget=1 << 18)) as server:
        held = [await server.connect() for _ in range(2)]
        for _, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        await until(lambda: server.server.budget.used >= 200_000)
        assert (await server.ask(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)).startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            writer.close()
        await server.let_go()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (b"GET /wait HTTP/1.1", b""),
        (b"GET /endless HTTP/1.1", b""),
        (b"POST /body HTTP/1.1", b"Content-Length: 9\r\n"),
        (b"GET /socket HTTP/1.1", b"Sec-WebSocket-Key: a\r\n"),
    ],
    ids=["answer that waits", "answer that nobody takes", "body", "websocket"],
)
async def test_a_head_is_charged_as_long_as_it_is_kept(start: bytes, end: bytes) -> None:
    """Fields are charged their real memory; later requests get 503."""
    fields = b"".join(b"h%d:\r\n" % number for number in range(400))
    raw = b"%s\r\nHost: a\r\n%s%s\r\n" % (start, fields, end)
    async with running(Table(3600).find, Limits(budget=150_000)) as server:
        _, writer = await server.connect()
        writer.write(raw)
        await until(lambda: server.server.budget.used >= 400 * 190)
        assert (await server.ask(raw)).startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 101 "))
        writer.close()
        await server.let_go()


async def test_connections_between_requests_cost_little() -> None:
    """Even if the last head had many fields."""
    fields = b"".join(b"h%d:\r\n" % number for number in range(400))
    async with running(Table().find) as server:
        pairs = [await server.connect() for _ in range(40)]
        tracemalloc.start()
        try:
            for reader, writer in pairs:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n" % fields)
                await reader.readuntil(b"\r\n\r\n0")
            assert tracemalloc.get_traced_memory()[0] < len(pairs) * Limits().connection_cost * 2
        finally:
            tracemalloc.stop()
        for _, writer in pairs:
            writer.close()


@pytest.mark.parametrize("path", [b"/body", b"/body/echo"])
async def test_an_idle_connection_keeps_no_body(path: bytes) -> None:
    """Which has been answered, and is not charged any more."""
    raw = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" % path + bytes(1_000_000)
    async with running(Table().find) as server:
        tracemalloc.start()
        try:
            reader, writer = await server.connect()
            writer.write(raw)
            await reader.readuntil(b"Content-Length: 7\r\n\r\n1000000")
            assert server.server.budget.used == 0
            del raw
            assert tracemalloc.get_traced_memory()[0] < 500_000
        finally:
            tracemalloc.stop()
        writer.close()


@pytest.mark.parametrize(
    "flood",
    [
        GET * 4000,
        b"GET / HTTP/1.1\nHost:a\n\n" * 4000,
        closing(b"/body", b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n"),
        closing(b"/", b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n"),
    ],
    ids=["heads", "bare heads", "chunks", "skipped chunks"],
)
async def test_one_connection_gets_no_more_than_its_turn(flood: bytes) -> None:
    """While one connection's requests are processed, others are answered in between."""
    async with running(Table().find) as server:
        reader, writer = await server.connect()
        other_reader, other = await server.connect()
        drained = asyncio.ensure_future(reader.read())
        writer.write(flood)
        turns = 0
        for _ in range(5):
            other.write(GET)
            await other_reader.readuntil(b"\r\n\r\n0")
            turns += not drained.done()
        writer.close()
        other.close()
        with suppress(OSError):
            await drained
    assert turns


async def test_a_large_head_is_answered_in_another_turn_than_it_is_read() -> None:
    """And so is each of several that a client sends at once."""
    table = Table()
    large = b"GET /slow HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"x" * 100_000)
    async with running(table.find, Limits(turn_time=0)) as server:
        wire = Wire(server.server)
        wire.protocol.data_received(large * 2)
        assert not table.calls
        await turn(lambda: table.calls)
        assert table.calls[b"/slow"] == 1
        await until(lambda: wire.taken.count(b"HTTP/1.1 200 OK") == 2)
        wire.protocol.connection_lost(None)
        await server.let_go()


@pytest.mark.parametrize(
    "last",
    [
        closing(b"/") + b"more",
        b"GET /socket HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: a\r\n\r\n\x88\x80\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    ],
    ids=["HTTP/1.1", "WebSocket", "HTTP/2"],
)
async def test_what_comes_after_the_end_is_read_in_turns(last: bytes) -> None:
    """It is read, or else the kernel resets the connection, but as long as others wait, not all at once."""
    async with running(Table().find) as server:
        wire = Wire(server.server)
        wire.protocol.data_received(last)
        assert wire.end == "eof"
        for _ in range(2):
            wire.protocol.data_received(last[:10])
            assert not wire.reads
            await turn(lambda: wire.reads)
        wire.protocol.connection_lost(None)
        await server.let_go()


async def test_a_large_request_to_switch_protocols_waits_for_its_turn() -> None:
    """What comes after it belongs to the new protocol, and the head is charged meanwhile."""
    table = Table()
    large = b"GET /socket HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: a\r\nX: %s\r\n\r\n" % (b"x" * 100_000)
    async with running(table.find) as server:
        wire = Wire(server.server)
        wire.protocol.data_received(large + b"\x81\x81\0\0\0\0")
        wire.protocol.data_received(b"a")
        assert server.server.budget.used > 100_000
        await until(lambda: wire.taken.endswith(b"\r\n\r\n\x81\x01a"))
        wire.protocol.connection_lost(None)
        await server.let_go()


async def test_all_connections_together_leave_the_loop_to_others() -> None:
    """Long reads of many clients are not processed between two polls, and short ones do not wait for them."""
    table = Table()
    slow = b"GET /slow HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % bytes(600).replace(b"\0", b"x")
    async with running(table.find) as server:
        pairs = [await server.connect() for _ in range(50)]
        other_reader, other = await server.connect()
        for _, writer in pairs:
            writer.write(slow)
        other.write(GET)
        await other_reader.readuntil(b"\r\n\r\n0")
        assert table.calls[b"/slow"] < len(pairs) / 2
        for reader, writer in pairs:
            await reader.readuntil(b"\r\n\r\n0")
            writer.close()
        other.close()
        await server.let_go()


async def test_many_heads_of_streamed_answers_may_be_pipelined() -> None:
    """Their bodies are not sent, so nothing has to wait for them."""
    async with running(Table().find) as server:
        answer = await server.ask(b"HEAD /blocks HTTP/1.1\r\nHost: a\r\n\r\n" * 3000 + closing(b"/"))
        assert answer.count(b"Content-Length: 4\r\n\r\n") == 3000
        assert answer.endswith(b"\r\n\r\n0")


async def test_many_streamed_answers_may_be_pipelined() -> None:
    """They are sent one after the other."""
    async with running(Table().find) as server:
        answer = await server.ask(b"GET /blocks HTTP/1.1\r\nHost: a\r\n\r\n" * 3000 + closing(b"/"))
        assert answer.count(b"Content-Length: 4\r\n\r\nabcd") == 3000
        assert answer.endswith(b"\r\n\r\n0")


CHUNKED = b"Transfer-Encoding: chunked\r\n"
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(GET, WAIT, GET[:7], b"\r\n", b"\n", b"GARBAGE\r\n\r\n", b"X: 1\r\n", b"abc", b"f" * 5000),
                *(b"0\r\n\r\n", b"3\r\nabc\r\n"),
                *(
                    b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path
                    for path in (b"/blocks", b"/stream", b"/endless")
                ),
                closing(b"/body", b"Content-Length: 5\r\n"),
                closing(b"/body", CHUNKED),
                b"POST /body HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n",
                b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
                b"POST /body HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
            ]
        ),
        st.binary(max_size=40),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, ends=st.booleans())
def test_whatever_a_client_sends_nothing_is_kept_of_it(pieces: list[bytes], ends: bool) -> None:
    """Any bytes in any segments leave the process's budget at zero after the disconnect."""

    async def send() -> None:
        async with running(Table(3600).find, Limits(check_interval=0.01, linger=0.01)) as server:
            _, writer = await server.connect()
            with suppress(OSError):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                if ends:
                    writer.write_eof()
            writer.close()
            await server.let_go()

    asyncio.run(send())
