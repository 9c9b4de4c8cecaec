"""Raw HTTP/2 over sockets: frames as bytes, and what the server does with them."""

import socket
from collections.abc import Iterator
from typing import Any

from hpack import Decoder, Encoder
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from tests.server import PATIENCE, Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = ((":method", "GET"), (":scheme", "http"), (":authority", "whoami.example"), (":path", "/bench"))


class RawHttp2:
    """A connection on which a test writes the frames itself."""

    def __init__(self, server: Server, settings: dict[int, int] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self.reader = self.socket.makefile("rb")
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.decoder.max_header_list_size = 1 << 22
        self.fields: list[dict[str, str]] = []  # of the HEADERS frames that came
        self.send(PREFACE, SettingsFrame(0, settings or {}))

    def __enter__(self) -> "RawHttp2":
        return self

    def __exit__(self, *details: object) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, *parts: Frame | bytes) -> None:
        """Send frames and bytes; a server that has hung up is not an error here."""
        data = b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def headers(self, stream_id: int, *fields: tuple[str, str], ended: bool = True) -> HeadersFrame:
        """A HEADERS frame with these fields; a plain GET of /bench where there are none."""
        flags = ["END_HEADERS", *(["END_STREAM"] if ended else [])]
        return HeadersFrame(stream_id, self.encoder.encode(fields or GET), flags=flags)

    def frames(self) -> Iterator[Any]:
        """The server's frames until the connection ends."""
        while len(start := self.reader.read(9)) == 9:
            frame, length = Frame.parse_frame_header(memoryview(start))
            frame.parse_body(memoryview(self.reader.read(length)))
            if isinstance(frame, HeadersFrame):
                self.fields.append({str(name): str(value) for name, value in self.decoder.decode(frame.data)})
            yield frame

    def answer(self) -> Iterator[Any]:
        """The frames up to the end of a stream."""
        for frame in self.frames():
            yield frame
            if "END_STREAM" in frame.flags:
                return

    def outcome(self) -> str:
        """How the server ended the stream or the connection, or what it answered first."""
        try:
            for frame in self.frames():
                if isinstance(frame, GoAwayFrame | RstStreamFrame):
                    return f"{type(frame).__name__.removesuffix('Frame')} {frame.error_code}"
                if isinstance(frame, HeadersFrame):
                    return "answer " + self.fields[-1][":status"]
        except ConnectionResetError:
            return "reset"
        return "closed"
