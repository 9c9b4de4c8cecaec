"""A connection's bytes to requests, in the shape that aiohttp's connection asks of its parser."""

import asyncio
import re
from typing import Any, Final

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from podkit.http1.head import MAX_HEAD, parse_head, parse_headers, parse_request_line
from podkit.message import Head, Headers, HttpError

_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_MAX_CHUNK_LINE: Final = 4096
_READ_AHEAD: Final = 1 << 16

Message = Head | HttpError


class Body(StreamReader):
    """A request's body as it arrives. `error` says why it ended early; trailers come with its end."""

    def __init__(self, protocol: BaseProtocol, length: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(protocol, _READ_AHEAD, loop=loop)
        self.error: HttpError | EOFError | None = None
        self.trailers: Headers = {}
        self._chunked = length < 0
        self._missing = max(0, length)  # bytes of the body, or of the chunk that is under way
        self._at_chunk_end = False
        self._in_trailers = False
        self._rest = b""

    def feed(self, data: bytes) -> bytes | None:
        """Take what belongs to the body; the bytes after it, or None while it goes on."""
        if self._chunked:
            return self._feed_chunks(self._rest + data)
        taken = data[: self._missing]
        self._missing -= len(taken)
        self.feed_data(taken)
        if self._missing:
            return None
        self.feed_eof()
        return data[len(taken) :]

    def end(self, error: HttpError | EOFError) -> None:
        """The body stops here, incomplete or broken."""
        self.error = error
        self.feed_eof()

    def _feed_chunks(self, data: bytes) -> bytes | None:
        position, self._rest = 0, b""
        while not self._in_trailers:
            if self._missing:
                taken = data[position : position + self._missing]
                position += len(taken)
                self._missing -= len(taken)
                self.feed_data(taken)
                if self._missing:
                    return None
                self._at_chunk_end = True
            if self._at_chunk_end:
                ending = data[position : position + 2]
                if not b"\r\n".startswith(ending):
                    raise HttpError(400, "malformed chunk")
                if len(ending) < 2:
                    self._rest = ending
                    return None
                position += 2
                self._at_chunk_end = False
            line = _CHUNK_SIZE.match(data, position)
            if line is None:
                self._rest = data[position:]
                if b"\n" in self._rest or len(self._rest) > _MAX_CHUNK_LINE:
                    raise HttpError(400, "invalid chunk size")
                return None
            position = line.end()
            self._missing = int(line[1], 16)
            self._in_trailers = not self._missing
        return self._feed_trailers(data[position:])

    def _feed_trailers(self, data: bytes) -> bytes | None:
        if data.startswith((b"\r\n", b"\n")):
            block, end = b"", data.index(b"\n") + 1
        else:
            match = _END_OF_HEAD.search(data)
            if match is None:
                if len(data) > MAX_HEAD:
                    raise HttpError(431, "trailers too large")
                self._rest = data
                return None
            block, end = data[: match.start()], match.end()
        lines = block.replace(b"\r\n", b"\n").removesuffix(b"\r").split(b"\n") if block else []
        self.trailers = parse_headers(lines)
        self.feed_eof()
        return data[end:]


class RequestStream:
    """Splits a connection's bytes into heads and bodies.

    Has the methods that ``aiohttp.web.RequestHandler`` calls on its parser, so it can stand in for it:
    llhttp refuses requests that the original answers (any method, Transfer-Encoding beside
    Content-Length, bare line feeds), and cannot tell 400 from 501 or 505.
    """

    def __init__(self, protocol: BaseProtocol, empty: StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        self._protocol = protocol
        self._empty = empty
        self._loop = loop
        self._buffer = b""
        self._searched = 0  # bytes of the buffer known to hold no end of head
        self._body: Body | None = None
        self._after_post = False
        self._broken = False

    @property
    def idle(self) -> bool:
        """Nothing is half read: the next byte starts a request."""
        return not self._buffer and self._body is None and not self._broken

    @property
    def inside_head(self) -> bool:
        """A head has begun and not ended."""
        return bool(self._buffer) and self._body is None and not self._broken

    def feed_data(self, data: bytes) -> tuple[list[tuple[Message, Any]], bool, bytes]:
        """Messages with their bodies, whether the last asks for another protocol, and the bytes after it."""
        messages: list[tuple[Message, Any]] = []
        if self._broken:
            return messages, False, b""
        try:
            if self._body is not None:
                rest = self._feed_body(self._body, data)
                if rest is None:
                    return messages, False, b""
                data = rest
            self._buffer += data
            while self._buffer:
                head = self._next_head()
                if head is None:
                    break
                body: Any = self._empty
                if head.length:
                    body = self._body = Body(self._protocol, head.length, self._loop)
                messages.append((head, body))
                data, self._buffer = self._buffer, b""
                if head.upgrade and not head.length:
                    return messages, True, data
                if self._body is not None:
                    rest = self._feed_body(self._body, data)
                    if rest is None:
                        break
                    data = rest
                self._buffer = data
        except HttpError as problem:
            self._broken, self._buffer = True, b""
            messages.append((problem, self._empty))
        return messages, False, b""

    def feed_eof(self) -> None:
        """The client sends no more."""
        if self._body is not None:
            self._body.end(EOFError("unexpected EOF"))
            self._body = None
        self._broken, self._buffer = True, b""

    def give_up(self, problem: HttpError) -> list[tuple[Message, Any]]:
        """Stop reading, with a refusal as the last message."""
        self._broken, self._buffer = True, b""
        return [(problem, self._empty)]

    def _feed_body(self, body: Body, data: bytes) -> bytes | None:
        try:
            rest = body.feed(data)
        except HttpError as problem:  # the request is answered with it; what follows can't be read
            body.end(problem)
            self._broken, self._body = True, None
            return None
        if rest is not None:
            self._body = None
        return rest

    def _next_head(self) -> Head | None:
        if self._after_post:  # old clients send a line end behind the body of a POST
            self._buffer = self._buffer.lstrip(b"\r\n") if self._buffer[:1] in (b"\r", b"\n") else self._buffer
        match = _END_OF_HEAD.search(self._buffer, max(0, self._searched - 2))
        if (match.end() if match else len(self._buffer)) > MAX_HEAD:
            raise HttpError(431, "request head too large")
        if match is None:
            line, end, _ = self._buffer.partition(b"\n")
            if end and not self._searched:
                parse_request_line(line.removesuffix(b"\r"))  # answer garbage before its second line
            self._searched = len(self._buffer) if end else 0
            return None
        block, self._buffer = self._buffer[: match.start()], self._buffer[match.end() :]
        self._searched = 0
        head = parse_head(block)
        self._after_post = head.method == b"POST"
        return head

    # what aiohttp's connection also calls: nothing is held back here, so there is nothing to do

    def message_consumed(self) -> None:
        """A message was taken from the queue."""

    def pause_reading(self) -> None:
        """The body's buffer is full: the connection stops reading."""

    def set_upgraded(self, value: bool) -> None:
        """The asked-for protocol was (not) taken up."""
