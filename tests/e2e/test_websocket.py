"""/echo, with aiohttp's client and with raw frames."""

import os
from contextlib import suppress

import aiohttp
import pytest

from tests.server import Server, request

HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def frame(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    return bytes((opcode | 0x80 * final, 0x80 | len(payload))) + bytes(4) + payload


async def test_messages_come_back(whoami: Server) -> None:
    """Text, binary, the largest allowed, and the close code."""
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{whoami.port}/echo"
        async with session.ws_connect(url, max_msg_size=0) as websocket:
            await websocket.send_str("Lukša")
            assert await websocket.receive_str() == "Lukša"
            large = os.urandom(16 << 20)
            await websocket.send_bytes(large)
            assert await websocket.receive_bytes() == large
            await websocket.ping(b"still there?")
            await websocket.close(code=4001)
            assert websocket.close_code == 4001


async def test_a_message_over_the_limit_ends_the_connection(whoami: Server) -> None:
    """Without an echo; the server keeps serving."""
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{whoami.port}/echo"
        async with session.ws_connect(url, max_msg_size=0) as websocket:
            with suppress(ConnectionError):  # it may close while we still send
                await websocket.send_bytes(bytes((16 << 20) + 1))
            assert (await websocket.receive()).type != aiohttp.WSMsgType.BINARY
    assert whoami.get("/bench").status == 200


def test_frames_that_come_with_the_handshake(whoami: Server) -> None:
    """Fragments are joined, a ping gets a pong, close is answered with its code."""
    with whoami.connect() as client:
        frames = frame(1, b"he", final=False) + frame(0, b"llo") + frame(9, b"?") + frame(8, b"\x03\xe8")
        client.send(request("/echo", *HANDSHAKE) + frames)
        answer = client.read()
        assert answer is not None
        assert (answer.status, answer.header("Server")) == (101, None)
        assert sorted((client.reader.read(7), client.reader.read(3))) == [b"\x81\x05hello", b"\x8a\x01?"]
        assert client.reader.read(4) == b"\x88\x02\x03\xe8"
        assert client.closes()


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x83\x80\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"])
def test_broken_frames_end_the_connection_alone(whoami: Server, data: bytes) -> None:
    """The server keeps serving."""
    with whoami.connect() as client:
        client.send(request("/echo", *HANDSHAKE) + data)
        assert client.read() is not None
        client.reader.read()
    assert whoami.get("/bench").status == 200


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        (HANDSHAKE[1:], "GET", 400),
        ((HANDSHAKE[0], *HANDSHAKE[2:]), "GET", 400),
        (HANDSHAKE, "PUT", 405),
        ((*HANDSHAKE[:3], "Sec-WebSocket-Key: short"), "GET", 400),
    ],
)
def test_bad_handshakes_are_refused(whoami: Server, headers: tuple[str, ...], method: str, status: int) -> None:
    """The connection remains usable."""
    with whoami.connect() as client:
        client.send(request("/echo", *headers, method=method))
        answer = client.read()
        assert answer is not None
        assert answer.status == status
        client.send(request("/bench"))
        after = client.read()
        assert after is not None
        assert after.body == b"1"
