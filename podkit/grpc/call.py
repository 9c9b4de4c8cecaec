"""gRPC calls, independent of their transport.

Sources: PROTOCOL-HTTP2.md and statuscodes.md in the `doc` folder of gRPC.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from enum import IntEnum
from typing import Final, NamedTuple
from urllib.parse import quote

from podkit.message import Head, Response, error

_CONTENT_TYPE: Final = re.compile(rb"application/grpc(?:[+;]|\Z)")
_MAX_TEXT: Final = 500  # characters, of up to 12 bytes when encoded
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_UNQUOTED: Final = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"  # in addition to letters, digits and _.-~: ASCII without %


class Status(IntEnum):
    """gRPC's status codes."""

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
    """Ends a call with a status other than OK; the text is for the caller."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


Unary = Callable[[bytes], bytes]  # from the request message to the reply; never blocks; may raise RpcError
Stream = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]  # any streaming method; may raise RpcError


class Method(NamedTuple):
    """The implementation of a call: unary or streaming."""

    unary: Unary | None = None
    stream: Stream | None = None


Methods = Mapping[bytes, Method]  # by path: b"/whoami.Whoami/Bench"


class Call(NamedTuple):
    """The head of a call."""

    timeout: float | None  # seconds
    encoding: bytes  # of compressed messages


def check_request(head: Head) -> Call | Response:
    """Parses the head of a call. Other requests get an ordinary response, in the original's order and words.

    Like the original, it treats every ``application/grpc+...`` as protobuf and does not require ``te:
    trailers``, which only detects proxies that would drop our trailers.
    """
    kind, timeout = head.header(b"Content-Type"), head.header(b"Grpc-Timeout")
    if head.method != b"POST":
        return error(405, f"invalid gRPC request method {_quote(head.method)}", (b"Allow", b"POST"))
    if not _CONTENT_TYPE.match(kind):
        return error(415, f"invalid gRPC request content-type {_quote(kind)}")
    if head.version != (2, 0):
        return error(505, "gRPC requires HTTP/2")
    try:
        return Call(parse_timeout(timeout) if timeout else None, head.header(b"Grpc-Encoding") or b"identity")
    except ValueError as problem:
        return error(400, f"malformed grpc-timeout: {problem}")


def parse_timeout(text: bytes) -> float:
    """The seconds of a ``grpc-timeout`` such as ``100m``; ValueError if it is malformed."""
    found = _TIMEOUT.fullmatch(text)
    if not found:
        raise ValueError(f"{_quote(text)} is not up to 8 digits and one of H, M, S, m, u, n")
    return int(found[1]) * _UNITS[found[2]]


def _quote(text: bytes) -> str:
    return json.dumps(text.decode("utf-8", "replace"), ensure_ascii=False)


def encode_text(text: str) -> bytes:
    """Encodes a text for ``grpc-message``: UTF-8, percent-encoded except for printable ASCII.

    It is truncated, because clients refuse more than 8 KiB of headers.
    """
    return quote(text[:_MAX_TEXT], _UNQUOTED, errors="replace").encode()
