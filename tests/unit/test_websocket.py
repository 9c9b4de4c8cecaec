"""WebSockets by the rules of RFC 6455, frame by frame, over real sockets in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podkit.limits import Limits
from podkit.message import Head
from podkit.routes import Route
from podkit.server import Server
from tests.http2 import Wire
from tests.inprocess import Clock, Running, running, until
from tests.server import PATIENCE
from whoami.echo import echo

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
KEY = b"\x12\x34\x56\x78"
EMPTY_CLOSE, NORMAL = b"\x88\x00", b"\x88\x02\x03\xe8"
PROTOCOL_ERROR, NOT_UTF_8, TOO_LARGE = b"\x88\x02\x03\xea", b"\x88\x02\x03\xef", b"\x88\x02\x03\xf1"


def find(head: Head) -> Route:
    """Every path is the echo."""
    return Route(echo)


def length(size: int) -> bytes:
    """A payload's encoded length, without the mask bit."""
    if size < 126:
        return bytes((size,))
    return b"\x7e" + size.to_bytes(2) if size < 1 << 16 else b"\x7f" + size.to_bytes(8)


def frame(start: int, payload: bytes = b"", key: bytes = KEY) -> bytes:
    """A client's frame; `start` is its first byte."""
    size = length(len(payload))
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload)) if any(key) else payload
    return bytes((start, 0x80 | size[0])) + size[1:] + key + masked


def reply(start: int, payload: bytes = b"") -> bytes:
    """The server's frame."""
    return bytes((start,)) + length(len(payload)) + payload


CLOSE = frame(0x88, b"\x03\xe8")
TEXT = "Hellö-µ@ßöäüàá-UTF-8!!".encode()
CASES = {
    "text": (frame(0x81, b"hi") + CLOSE, reply(0x81, b"hi") + NORMAL),
    "empty text": (frame(0x81) + CLOSE, reply(0x81) + NORMAL),
    "empty binary": (frame(0x82) + CLOSE, reply(0x82) + NORMAL),
    "125 bytes": (frame(0x82, b"x" * 125) + CLOSE, reply(0x82, b"x" * 125) + NORMAL),
    "126 bytes": (frame(0x82, b"x" * 126) + CLOSE, reply(0x82, b"x" * 126) + NORMAL),
    "65535 bytes": (frame(0x82, b"x" * 65535) + CLOSE, reply(0x82, b"x" * 65535) + NORMAL),
    "65536 bytes": (frame(0x82, b"x" * 65536) + CLOSE, reply(0x82, b"x" * 65536) + NORMAL),
    "fragments": (
        frame(0x01, b"a") + frame(0x00, b"b") + frame(0x80, b"c") + CLOSE,
        reply(0x81, b"abc") + NORMAL,
    ),
    "a character in two fragments": (
        frame(0x01, TEXT[:5]) + frame(0x80, TEXT[5:]) + CLOSE,
        reply(0x81, TEXT) + NORMAL,
    ),
    "ping in fragments": (
        frame(0x01, b"a") + frame(0x89, b"p") + frame(0x80, b"b") + CLOSE,
        reply(0x8A, b"p") + reply(0x81, b"ab") + NORMAL,
    ),
    "ping of 125 bytes": (frame(0x89, b"x" * 125) + CLOSE, reply(0x8A, b"x" * 125) + NORMAL),
    "pong unasked": (frame(0x8A, b"x") + CLOSE, NORMAL),
    "close without a code": (frame(0x88), EMPTY_CLOSE),
    "close with a reason": (frame(0x88, b"\x03\xe8bye"), b"\x88\x05\x03\xe8bye"),
    "close of an application": (frame(0x88, b"\x0f\xa1"), b"\x88\x02\x0f\xa1"),
    "nothing after close": (CLOSE + frame(0x81, b"late"), NORMAL),
    "close of one byte": (frame(0x88, b"\x03"), PROTOCOL_ERROR),
    "close with a reason that is not UTF-8": (frame(0x88, b"\x03\xe8\xff"), NOT_UTF_8),
    "ping of 126 bytes": (frame(0x89, b"x" * 126), PROTOCOL_ERROR),
    "ping in pieces": (frame(0x09, b"x"), PROTOCOL_ERROR),
    "continuation of nothing": (frame(0x80, b"x"), PROTOCOL_ERROR),
    "a message within a message": (frame(0x01, b"a") + frame(0x81, b"b"), PROTOCOL_ERROR),
    "no mask": (reply(0x81, b"hi"), PROTOCOL_ERROR),
    "text that is not UTF-8": (frame(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"), NOT_UTF_8),
    "text that ends within a character": (frame(0x81, b"\xce"), NOT_UTF_8),
    "a character that ASCII breaks off": (frame(0x01, b"\xce") + frame(0x80, b"a"), NOT_UTF_8),
    "not UTF-8 before the message's end": (frame(0x01, b"ok") + frame(0x00, b"\xf4\x90"), NOT_UTF_8),
    "not UTF-8 before the frame's end": (frame(0x81, b"\xff" + b"x" * 99)[:20], NOT_UTF_8),
    "too large by its header": (b"\x82\xff" + ((16 << 20) + 1).to_bytes(8) + KEY, TOO_LARGE),
    "echoed before the bad frame": (frame(0x81, b"ok") + frame(0x83), reply(0x81, b"ok") + PROTOCOL_ERROR),
    **{f"reserved bit {bit:x}": (frame(0x81 | bit, b"x"), PROTOCOL_ERROR) for bit in (0x10, 0x20, 0x40)},
    **{f"opcode {code}": (frame(0x80 | code), PROTOCOL_ERROR) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{
        f"close code {code}": (frame(0x88, code.to_bytes(2)), PROTOCOL_ERROR)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    """One with short timeouts."""
    times = Limits(websocket_timeout=1.2, body_timeout=0.3, send_timeout=0.4, linger=0.2, check_interval=0.05)
    async with running(find, times) as server:
        yield server


async def opened(server: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection after its handshake."""
    reader, writer = await server.connect()
    writer.write(HANDSHAKE)
    assert (await reader.readuntil(b"\r\n\r\n")) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    return reader, writer


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "byte by byte"])
async def test_frames_are_answered_by_the_book(server: Running, name: str, pieces: bool) -> None:
    """Whatever the segments; a violation closes the connection with the code for it."""
    sent, expected = CASES[name]
    if pieces and len(sent) > 1000:
        pytest.skip("too long for that")
    reader, writer = await opened(server)
    with suppress(ConnectionError):  # it may close while we still send
        for start in range(0, len(sent), 1 if pieces else len(sent)):
            writer.write(sent[start : start + (1 if pieces else len(sent))])
            if pieces:
                await asyncio.sleep(0)
    assert await reader.read() == expected
    writer.close()
    await server.let_go()


async def test_the_largest_message_is_the_servers_limit() -> None:
    """A longer one closes the connection."""
    async with running(find, Limits(max_message=1000)) as server:
        reader, writer = await opened(server)
        writer.write(frame(0x82, bytes(1000)) + frame(0x82, bytes(1001)))
        assert await reader.read() == reply(0x82, bytes(1000)) + TOO_LARGE
        writer.close()


async def test_a_large_message_costs_its_size() -> None:
    """The largest is echoed completely, and charged to the budget meanwhile."""
    payload = bytes(range(256)) * (1 << 16)
    async with running(find) as server:
        reader, writer = await opened(server)
        sent = frame(0x82, payload, bytes(4))
        writer.write(sent[:-1])
        await until(lambda: server.server.budget.used >= len(payload) - 1)
        assert server.server.budget.used < len(payload) + (1 << 20)
        writer.write(sent[-1:])
        assert await reader.readexactly(len(payload) + 10) == reply(0x82, payload)
        writer.close()
        await server.let_go()


async def test_fragments_take_turns() -> None:
    """A message in thousands of them, in one read, leaves the loop to others in between."""
    server = Server(find)
    wire = Wire(server)
    wire.protocol.data_received(HANDSHAKE)
    wire.protocol.data_received(frame(0x02) + frame(0x00, b"x") * 30_000 + frame(0x80, b"x"))
    answer = reply(0x82, b"x" * 30_001)
    assert answer not in wire.taken
    assert not wire.reads
    await until(lambda: answer in wire.taken)
    assert wire.reads
    wire.protocol.connection_lost(None)
    assert server.budget.used == 0


async def test_a_long_read_waits_for_deferred_work() -> None:
    """A short one does not."""
    server = Server(find)
    wire, other = Wire(server), Wire(server)
    for each in (wire, other):
        each.protocol.data_received(HANDSHAKE)
    server.turns.put_off(lambda: None)
    wire.protocol.data_received(frame(0x82, b"x" * 600))
    other.protocol.data_received(frame(0x82, b"hi"))
    assert reply(0x82, b"x" * 600) not in wire.taken
    assert reply(0x82, b"hi") in other.taken
    await until(lambda: reply(0x82, b"x" * 600) in wire.taken)
    for each in (wire, other):
        each.protocol.connection_lost(None)
    assert server.budget.used == 0


async def test_its_client_is_not_read_from_while_messages_wait() -> None:
    """Even if the handshake had to wait for its turn, when HTTP/1.1 did not read either."""
    mistakes = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: mistakes.append(context))
    server = Server(find)
    wire = Wire(server)
    wire.protocol.data_received(
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100 + HANDSHAKE + frame(0x82, b"a") * 1000
    )
    assert not wire.reads
    await until(lambda: b"101 Switching" in wire.taken)
    await until(lambda: wire.taken.count(reply(0x82, b"a")) == 1000)
    assert wire.reads
    assert not mistakes  # such as pausing what is paused
    wire.protocol.connection_lost(None)
    assert server.budget.used == 0


async def test_messages_share_the_budget() -> None:
    """Later ones are told to try again."""
    async with running(find, Limits(budget=1 << 20)) as server:
        reader, writer = await opened(server)
        writer.write(frame(0x82, bytes(2 << 20), bytes(4)))
        assert (await reader.read()).endswith(b"\x88\x02" + (1013).to_bytes(2))
        writer.close()
        await server.let_go()


@pytest.mark.parametrize(
    "sent", [b"", frame(0x01, b"a"), frame(0x81, b"abc")[:-1]], ids=["idle", "open", "cut"]
)
async def test_silence_ends(server: Running, sent: bytes) -> None:
    """A silent client, or one that leaves a message unfinished, is disconnected."""
    reader, writer = await opened(server)
    writer.write(sent)
    async with asyncio.timeout(PATIENCE):
        await reader.read()
    writer.close()
    await server.let_go()


async def test_pings_keep_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as they come."""
    clock, timeout = Clock(monkeypatch), Limits().websocket_timeout
    async with running(find) as server:
        reader, writer = await opened(server)
        for _ in range(6):  # in all twice the timeout of a silent client
            clock.forward(timeout / 3)
            writer.write(frame(0x89, b"?"))
            assert await reader.readexactly(3) == reply(0x8A, b"?")
        clock.forward(timeout + 1)
        assert (await reader.read()).startswith(b"\x88")
        writer.close()


async def test_echoes_that_nobody_takes_are_given_up(server: Running) -> None:
    """A client that sends but does not read is bounded, and disconnected."""
    _, writer = await opened(server)
    with suppress(ConnectionError):
        for _ in range(400):
            writer.write(frame(0x82, bytes(1 << 16), bytes(4)))
            await asyncio.wait_for(writer.drain(), PATIENCE)
    assert server.server.budget.used < 4 << 20
    await server.let_go()
    writer.close()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.builds(frame, st.integers(0, 255), st.binary(max_size=200)),
            st.sampled_from([frame(0x01, b"a"), frame(0x80, b"b"), frame(0x89), frame(0x81, TEXT)]),
        ),
        max_size=8,
    )
)
def test_whatever_a_client_sends_nothing_is_kept_of_it(pieces: list[bytes]) -> None:
    """Any bytes leave the process's budget at zero after the disconnect."""

    async def send() -> None:
        async with running(find) as server:
            reader, writer = await server.connect()
            writer.write(HANDSHAKE)
            with suppress(OSError):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await server.let_go()

    asyncio.run(send())
