"""Raw HTTP/2, over sockets and in process: frames as bytes, and the server's reaction."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any, cast

from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from podkit.opening import Opening
from podkit.server import Server as Shared
from tests.server import PATIENCE, Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = ((":method", "GET"), (":scheme", "http"), (":authority", "whoami.example"), (":path", "/bench"))
Field = tuple[str, str]


def get(path: str, *more: Field, method: str = "GET") -> tuple[Field, ...]:
    """The fields of a request."""
    return ((":method", method), *GET[1:3], (":path", path), *more)


def raw(kind: int, stream_id: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A frame that hyperframe refuses to build."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream_id.to_bytes(4, "big") + payload


class Speaker:
    """Writes and reads frames, including header blocks."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.decoder.max_header_list_size = 1 << 22
        self.fields: list[dict[str, str]] = []  # of the received HEADERS frames

    def headers(self, stream_id: int, *fields: Field, ended: bool = True) -> HeadersFrame:
        """A HEADERS frame with these fields; by default a plain GET of /bench."""
        flags = ["END_HEADERS", *(["END_STREAM"] if ended else [])]
        return HeadersFrame(stream_id, self.encoder.encode(fields or GET), flags=flags)

    def parse(self, start: bytes, payload: bytes) -> Any:
        """A frame from its nine bytes and its payload."""
        frame, _ = Frame.parse_frame_header(memoryview(start))
        frame.parse_body(memoryview(payload))
        if isinstance(frame, HeadersFrame):
            decoded = self.decoder.decode(frame.data)
            self.fields.append({str(name): str(value) for name, value in decoded})
        return frame


def serialize(*parts: Frame | bytes) -> bytes:
    """Renders frames and bytes."""
    return b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)


class RawHttp2(Speaker):
    """A connection on which a test writes the frames itself."""

    def __init__(self, server: Server, settings: dict[int, int] | None = None) -> None:
        super().__init__()
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self.send(PREFACE, SettingsFrame(0, settings or {}))

    def __enter__(self) -> "RawHttp2":
        return self

    def __exit__(self, *details: object) -> None:
        self.socket.close()

    def send(self, *parts: Frame | bytes) -> None:
        """Sends frames and bytes; ignores that the server may have closed."""
        try:
            self.socket.sendall(serialize(*parts))
        except (BrokenPipeError, ConnectionResetError):
            return

    def frames(self) -> Iterator[Any]:
        """The server's frames until the connection closes."""
        with self.socket.makefile("rb") as reader:
            while len(start := reader.read(9)) == 9:
                yield self.parse(start, reader.read(int.from_bytes(start[:3], "big")))

    def answer(self) -> Iterator[Any]:
        """The frames up to the end of a stream."""
        for frame in self.frames():
            yield frame
            if "END_STREAM" in frame.flags:
                return

    def outcome(self) -> str:
        """How the server ended the stream or connection, or its first answer."""
        try:
            for frame in self.frames():
                if isinstance(frame, GoAwayFrame | RstStreamFrame):
                    return f"{type(frame).__name__.removesuffix('Frame')} {frame.error_code}"
                if isinstance(frame, HeadersFrame):
                    return "answer " + self.fields[-1][":status"]
        except ConnectionResetError:
            return "reset"
        return "closed"


class Wire(asyncio.Transport):
    """A transport controlled by the test; it accepts everything unless `takes` says otherwise."""

    def __init__(self, server: Shared) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000)})
        self.taken = bytearray()  # by the client
        self.buffer = bytearray()  # written, but not taken
        self.writes = 0  # number of writes
        self.takes = True
        self.reads = True
        self.end = ""  # how the server ended it: "eof", "close", "abort"
        self.protocol = cast(asyncio.Protocol, Opening(server))
        self.protocol.connection_made(self)

    def write(self, data: Any) -> None:
        """Bytes from the server."""
        self.writes += 1
        if self.takes:
            self.taken += data
            return
        was_empty = not self.buffer
        self.buffer += data
        if was_empty:
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        """The same in pieces."""
        self.write(b"".join(list_of_data))

    def take(self) -> None:
        """The client reads the buffer."""
        self.takes = True
        waiting, self.buffer = self.buffer, bytearray()
        self.taken += waiting
        if waiting:
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        """The bytes that the client has not taken."""
        return len(self.buffer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Any byte is over the limit."""

    def pause_reading(self) -> None:
        """The server pauses reading."""
        assert self.reads
        self.reads = False

    def resume_reading(self) -> None:
        """The server resumes reading."""
        assert not self.reads
        self.reads = True

    def is_closing(self) -> bool:
        """Whether the server has closed it."""
        return self.end in ("close", "abort")

    def can_write_eof(self) -> bool:
        """Like TCP."""
        return True

    def write_eof(self) -> None:
        """The server half-closes."""
        self.end = self.end or "eof"

    def close(self) -> None:
        """The server closes."""
        if not self.is_closing():
            self.end = "close"
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        """The server resets."""
        if not self.is_closing():
            self.end = "abort"
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switches the protocol."""
        self.protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self.protocol


class Peer(Speaker):
    """An in-process client. `opening` replaces the preface and SETTINGS."""

    def __init__(
        self, server: Shared, settings: dict[int, int] | None = None, opening: bytes | None = None
    ) -> None:
        super().__init__()
        self.server = server
        self.wire = Wire(server)
        self.seen: list[Any] = []  # all received frames
        self.send(serialize(PREFACE, SettingsFrame(0, settings or {})) if opening is None else opening)

    def send(self, *parts: Frame | bytes) -> None:
        """Delivers frames and bytes in one read."""
        self.wire.protocol.data_received(serialize(*parts))

    async def settle(self, turns: int = 50) -> list[Any]:
        """Lets the server work for some turns of the loop; from 50, also until it has put nothing off.

        Returns the frames received meanwhile.
        """
        left = turns
        while left > 0 or (turns >= 50 and self.server.turns.is_full):  # each turn counts
            left -= 1
            await asyncio.sleep(0)
        return self.new()

    async def first_answer(self) -> None:
        """Lets the server work until it has answered a request, and no longer."""
        async with asyncio.timeout(PATIENCE):
            while not self.fields:
                await self.settle(1)

    def new(self) -> list[Any]:
        """The frames received since the last call."""
        data, frames = self.wire.taken, []
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            frames.append(self.parse(bytes(data[:9]), bytes(data[9:end])))
            del data[:end]
        self.seen += frames
        return frames

    async def ask(self, *parts: Frame | bytes) -> list[Any]:
        """Sends frames, lets the server work, and returns its frames."""
        self.send(*parts)
        return await self.settle()

    async def outcome(self, *parts: Frame | bytes) -> str:
        """The server's reaction to some frames: it closes the connection or a stream, or answers."""
        found = ""
        for frame in await self.ask(*parts):
            if isinstance(frame, GoAwayFrame):
                return f"goaway {frame.error_code}"
            if isinstance(frame, RstStreamFrame):
                found = found or f"reset {frame.stream_id} {frame.error_code}"
            if isinstance(frame, HeadersFrame):
                found = found or f"answer {self.fields[-1].get(':status')}"
        return found

    def body(self, stream_id: int) -> bytes:
        """The received part of a stream's body."""
        self.new()
        return b"".join(f.data for f in self.seen if isinstance(f, DataFrame) and f.stream_id == stream_id)

    async def wait(self, seconds: float) -> list[Any]:
        """Simulates time without a byte from the client."""
        for connection in tuple(self.server.connections):
            connection.check(time.monotonic() + seconds)
        return await self.settle()

    async def leave(self) -> None:
        """Disconnects."""
        if not self.wire.is_closing():
            self.wire.end = "abort"
            self.wire.protocol.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)
