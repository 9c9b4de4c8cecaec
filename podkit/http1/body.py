"""HTTP/1.1 request bodies, with a length or chunked, parsed by Go's rules and refused in Go's words."""

import re
from typing import Final, Protocol

from podkit.http1.fields import SPACED, parse_fields
from podkit.limits import Limits
from podkit.message import NO_HEADERS, Headers, HttpError

_EMPTY_LINE: Final = re.compile(rb"\n\r?\n")
_LINE: Final = re.compile(rb"[^\n]*\n")
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}")
_LONG_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{17}")
_CHUNK_WORK: Final = 64  # bytes that are as much work as a chunk
_MAX_EXCESS: Final = 16 * 1024  # bytes of chunk lines beyond what the chunk sizes need
_MAX_TRAILER: Final = 4096  # bytes; the size of Go's buffer
_LONG_TRAILER: Final = "http: suspiciously long trailer after chunked body"
CUT_OFF: Final = "unexpected EOF"


class Body(Protocol):
    """A body in progress. `data` is its content, unless it is skipped; `size` counts in any case."""

    data: bytearray
    size: int  # bytes of the body so far
    complete: bool  # nothing of it is missing
    is_behind: bool  # the rest of the data takes another call
    error: str  # why it is invalid, in Go's words
    trailers: Headers

    def feed(self, data: bytes | bytearray, position: int, room: int) -> int:
        """Takes the body's part of `data`, at most the work of `room` bytes; returns the offset of the rest.

        It may leave bytes that are incomplete without more input.
        """

    def end(self, unused: int) -> None:
        """The client has half-closed, with `unused` bytes left."""


class LengthBody:
    """A body with a Content-Length."""

    trailers: Headers = NO_HEADERS
    is_behind = False

    def __init__(self, length: int, keep: bool) -> None:
        self.data = bytearray()
        self.size = 0
        self.complete = False
        self.error = ""
        self._length = length
        self._keep = keep

    def feed(self, data: bytes | bytearray, position: int, room: int) -> int:
        """See `Body`. A piece costs the same whatever its size, so it takes everything."""
        end = min(len(data), position + self._length - self.size)
        if self._keep:
            self.data += memoryview(data)[position:end]
        self.size += end - position
        self.complete = self.size == self._length
        return end

    def end(self, unused: int) -> None:
        """See `Body`."""
        self.error = CUT_OFF


class ChunkedBody:
    """A chunked body, with trailers."""

    def __init__(self, limits: Limits, keep: bool) -> None:
        self.data = bytearray()
        self.size = 0
        self.complete = False
        self.is_behind = False
        self.error = ""
        self.trailers = NO_HEADERS
        self._limits = limits
        self._keep = keep
        self._missing = 0  # bytes of the current chunk
        self._ends_chunk = False  # a line end must follow
        self._in_trailers = False
        self._excess = 0

    def feed(self, data: bytes | bytearray, position: int, room: int) -> int:
        """See `Body`."""
        stop, self.is_behind = position + room, False
        while not self._in_trailers and not self.error and position < stop:
            if self._missing:
                end = min(len(data), position + self._missing)
                if end == position:
                    return position
                if self._keep:
                    self.data += memoryview(data)[position:end]
                self.size += end - position
                self._missing -= end - position
                position, self._ends_chunk = end, not self._missing
            elif self._ends_chunk:
                if len(data) - position < 2:
                    return position
                if data[position : position + 2] != b"\r\n":
                    self.error = "malformed chunked encoding"
                position, self._ends_chunk = position + 2, False
            else:
                line = _LINE.match(data, position, position + self._limits.max_chunk_line)
                if line is None:
                    if len(data) - position >= self._limits.max_chunk_line:
                        self.error = "header line too long"
                    return position
                self._begin_chunk(line[0])
                position, stop = line.end(), stop - _CHUNK_WORK
        if self._in_trailers:
            return self._read_trailers(data, position)
        self.is_behind = position < len(data) and not self.error
        return position

    def _begin_chunk(self, line: bytes | bytearray) -> None:
        if len(line) < 2 or line.find(b"\r") != len(line) - 2:
            self.error = "invalid CR in chunked line" if b"\r" in line else "chunked line ends with bare LF"
            return
        text = line.rstrip(b" \t\r\n").partition(b";")[0]
        if not _SIZE.fullmatch(text):
            self.error = "invalid byte in chunk length" if text else "empty hex number for chunk length"
            if _LONG_SIZE.match(text):
                self.error = "http chunk length too large"
            return
        self._missing = int(text, 16)
        self._in_trailers = not self._missing
        self._excess = max(0, self._excess + len(line) - 16 - 2 * self._missing)
        if self._excess > _MAX_EXCESS:
            self.error = "chunked encoding contains too much non-data"

    def _read_trailers(self, data: bytes | bytearray, position: int) -> int:
        if data[position : position + 2] == b"\r\n":
            self.complete = True
            return position + 2
        end = data.find(b"\r\n\r\n", position, position + _MAX_TRAILER)
        if end < 0:
            if len(data) - position >= _MAX_TRAILER:
                self.error = _LONG_TRAILER
            return position
        if data[position : position + 1] == b"\n":  # an empty line ends it too; one with CRLF is found below
            self.complete = True
            return position + 1
        ending = _EMPTY_LINE.search(data, position)
        assert ending is not None
        try:
            trailers = parse_fields(
                bytes(data[position : ending.start()]).removesuffix(b"\r"), self._limits.max_header_lines
            )
            trailers.pop(SPACED, None)
            self.trailers = trailers
        except HttpError as problem:
            self.error = problem.reason
        self.complete = not self.error
        return ending.end()

    def end(self, unused: int) -> None:
        """See `Body`; Go reports a truncated trailer as too long, once it has begun."""
        in_trailers = _LONG_TRAILER if unused >= 2 else "http: unexpected EOF reading trailer"
        self.error = in_trailers if self._in_trailers else CUT_OFF


def body_of(length: int, limits: Limits, keep: bool) -> Body:
    """A parser for a body of `length` bytes, -1 for chunked; it keeps the content only if `keep`."""
    return ChunkedBody(limits, keep) if length < 0 else LengthBody(length, keep)
