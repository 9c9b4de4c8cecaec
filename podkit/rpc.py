"""Remote procedure calls as gRPC defines them, apart from the transport that carries them.

The source is gRPC's own description of itself: PROTOCOL-HTTP2.md, compression.md and statuscodes.md.
"""

import re
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from enum import IntEnum
from typing import Final, NamedTuple
from urllib.parse import quote

from podkit.message import Head, Response, error

_CONTENT_TYPES: Final = frozenset((b"application/grpc", b"application/grpc+proto"))
ACCEPT_ENCODING: Final = b"identity,gzip"  # the value of grpc-accept-encoding that a reply carries
_PREFIX: Final = struct.Struct(">BI")  # the compressed flag, and the length in bytes
_MAX_MESSAGE: Final = 4 << 20  # bytes; what gRPC's libraries take by default
_MAX_TEXT: Final = 500  # characters, of up to 12 bytes when encoded
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_UNQUOTED: Final = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"  # with letters, digits and _.-~: ASCII without %


class Status(IntEnum):
    """How a call ended: gRPC's codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A call's end with another status than OK; the text is for its caller."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


Unary = Callable[[bytes], bytes]  # from the request message to the reply; never waits; may raise RpcError
Stream = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]  # any streaming method; may raise RpcError


class Method(NamedTuple):
    """What answers a call: one of the two."""

    unary: Unary | None = None
    stream: Stream | None = None


Methods = Mapping[bytes, Method]  # by path: b"/whoami.Whoami/Bench"


class Call(NamedTuple):
    """What the head of a call says."""

    timeout: float | None  # seconds
    encoding: bytes  # of compressed messages


def check_request(head: Head) -> Call | Response:
    """Read the head of a call. What is no call of gRPC's gets an ordinary answer, as the original gives it.

    A missing ``te: trailers`` is let pass, as there: it only tells of proxies that would lose our trailers.
    """
    if head.method != b"POST":
        return error(405, "a gRPC call is a POST", (b"Allow", b"POST"))
    if head.header(b"Content-Type").partition(b";")[0].rstrip() not in _CONTENT_TYPES:
        return error(415, "a gRPC call is of type application/grpc or application/grpc+proto")
    timeout = head.header(b"Grpc-Timeout")
    try:
        return Call(parse_timeout(timeout) if timeout else None, head.header(b"Grpc-Encoding") or b"identity")
    except ValueError as problem:
        return error(400, str(problem))


def parse_timeout(text: bytes) -> float:
    """The seconds of a ``grpc-timeout`` such as ``100m``; ValueError where it is malformed."""
    found = _TIMEOUT.fullmatch(text)
    if not found:
        raise ValueError(f"malformed grpc-timeout: {text.decode('latin-1')!r}")
    return int(found[1]) * _UNITS[found[2]]


def frame(message: bytes) -> bytes:
    """A message as it travels: uncompressed, behind its length."""
    return _PREFIX.pack(0, len(message)) + message


def encode_text(text: str) -> bytes:
    """A text as the value of ``grpc-message``: UTF-8, percent-encoded but for printable ASCII.

    It is cut to what a header may have: clients refuse more than 8 KiB of them.
    """
    return quote(text[:_MAX_TEXT], _UNQUOTED, errors="replace").encode()


class Frames:
    """Splits what arrives in any pieces into messages, decompressed."""

    def __init__(self, encoding: bytes = b"identity", max_message: int = _MAX_MESSAGE) -> None:
        self._encoding = encoding
        self._max_message = max_message
        self._buffer = bytearray()

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes; RpcError where the call must end, after which all is over."""
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(buffer, start)
            self._check(compressed, length)
            end = start + _PREFIX.size + length
            if end > len(buffer):
                break
            message = bytes(buffer[start + _PREFIX.size : end])
            messages.append(self._decompress(message) if compressed else message)
            start = end
        del buffer[:start]
        return messages

    def _check(self, compressed: int, length: int) -> None:
        if compressed > 1:
            raise RpcError(Status.INTERNAL, f"invalid compressed flag {compressed}")
        if compressed and self._encoding == b"identity":
            raise RpcError(Status.INTERNAL, "a compressed message without a grpc-encoding")
        if compressed and self._encoding != b"gzip":
            encoding = self._encoding.decode("latin-1")
            raise RpcError(
                Status.UNIMPLEMENTED, f"grpc-encoding {encoding} is not served: use identity or gzip"
            )
        if length > self._max_message:
            raise self._too_large()

    def _decompress(self, data: bytes) -> bytes:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's head
        try:
            message = inflater.decompress(data, self._max_message + 1)
        except zlib.error:
            raise RpcError(Status.INTERNAL, "a message that is no gzip") from None
        if len(message) > self._max_message:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise RpcError(Status.INTERNAL, "a gzip message that is cut off, or has more behind it")
        return message

    def _too_large(self) -> RpcError:
        return RpcError(Status.RESOURCE_EXHAUSTED, f"a message of more than {self._max_message} bytes")
