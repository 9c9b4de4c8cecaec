"""Request heads, parsed like Go's ``net/http``: what it accepts, corrects and refuses."""

import re
from functools import lru_cache
from typing import Final

from podkit.go.header import (
    NOT_TRAILERS,
    TOKEN,
    has_element,
    has_token,
    leads_to,
    trailer_names,
)
from podkit.go.host import is_valid_host
from podkit.go.url import Target, parse_target
from podkit.http1.fields import MAX_FIELDS, SPACED, parse_fields
from podkit.message import Head, HttpError

_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
# simple request lines: nothing to unescape, no scheme, no host
_PLAIN_LINE: Final = re.compile(
    rb"([A-Z]+) ((/[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]]*)(?:\?([^\x00-\x20\x7f]*))?) HTTP/1\.([01])"
)
_CACHED_START: Final = 64  # bytes
_CARRIED_ON: Final = re.compile(rb"(?:[ \t][^\n]*(?:\n|\Z))*")
_DIGITS: Final = re.compile(rb"[0-9]+")
_INT64_DIGITS: Final = 19


def parse_request_line(line: bytes) -> tuple[bytes, bytes, tuple[int, int]]:
    """Splits a request line into method, target and version; HttpError if there are not three parts."""
    method, _, rest = line.partition(b" ")
    target, space, protocol = rest.partition(b" ")
    version = _VERSION.fullmatch(protocol)
    if not space or not TOKEN.fullmatch(method) or version is None:
        raise HttpError(400, "malformed request line")
    return method, target, (int(version[1]), int(version[2]))


def parse_start(line: bytes) -> tuple[bytes, Target, tuple[int, int]]:
    """Parses method, target and version of a request line; HttpError if one is malformed."""
    plain = _PLAIN_LINE.fullmatch(line)
    if plain is not None:
        method, request_uri, path, query, minor = plain.groups(b"")
        return method, Target(path, query, b"", request_uri), (1, int(minor))
    method, text, version = parse_request_line(line)
    try:
        return method, parse_target(method, text), version
    except ValueError as problem:
        raise HttpError(400, str(problem)) from None


# cached for request lines that are likely to be repeated
_known_start = lru_cache(maxsize=256)(parse_start)


def check_lines(block: bytes, is_start: bool) -> None:
    """Refuses lines that no valid head can contain, before it is complete, as Go does: HttpError.

    `block` has whole lines, up to the line feed of the last; `is_start`: the request line is the first.
    """
    block = block.removesuffix(b"\r")
    if is_start:
        start, _, block = block.partition(b"\n")
        parse_start(start.removesuffix(b"\r"))
    elif carried_on := _CARRIED_ON.match(block):
        block = block[carried_on.end() :]
    if block:
        parse_fields(block)


def parse_head(block: bytes, max_fields: int = MAX_FIELDS) -> Head:
    """Parses the head in `block`: request line and header lines, up to the last one's line feed.

    So `block` may end in a carriage return, but only one that belongs to that line's end. Raises HttpError with
    the original's status.
    """
    start, _, fields = block.removesuffix(b"\r").partition(b"\n")
    start = start.removesuffix(b"\r")
    method, target, version = _known_start(start) if len(start) <= _CACHED_START else parse_start(start)
    headers = parse_fields(fields, max_fields) if fields else {}

    hosts = headers.pop(b"Host", None)
    if hosts and len(hosts) > 1:
        raise HttpError(400, "too many Host headers")
    at_least_11 = version >= (1, 1)
    if b"Content-Length" in headers or b"Transfer-Encoding" in headers:
        length, trailers = _framing(headers, at_least_11, max_fields)
    else:
        length, trailers = 0, ()
    if version[0] != 1:
        if method == b"PRI" and target.request_uri == b"*" and version == (2, 0):
            raise HttpError(400, "malformed HTTP/2 preface")
        raise HttpError(505, "unsupported protocol version")
    if hosts is None and at_least_11 and method != b"CONNECT":
        raise HttpError(400, "missing required Host header")
    if SPACED in headers:
        raise HttpError(400, "invalid header name")
    host = target.host or (hosts[0] if hosts else b"")
    if hosts and not is_valid_host(hosts[0]):
        raise HttpError(400, "malformed Host header")
    if b"Pragma" in headers and headers[b"Pragma"][0] == b"no-cache":
        headers.setdefault(b"Cache-Control", [b"no-cache"])  # as Go does for old clients
    connection = headers.get(b"Connection")
    if connection is None:
        close, upgrade = not at_least_11, b""
    else:
        close = _closes(connection, at_least_11)
        upgrade = _upgrade(connection, headers[b"Upgrade"]) if b"Upgrade" in headers else b""
    return Head(
        method,
        target.path,
        target.query,
        target.request_uri,
        host,
        version,
        headers,
        close or method == b"CONNECT",
        length,
        trailers,
        upgrade,
    )


def _closes(connection: list[bytes], at_least_11: bool) -> bool:
    """Whether the connection closes after the answer; Go parses the header in two ways, and both count."""
    if not at_least_11:
        return not has_token(connection[0], b"keep-alive")
    return has_token(connection[0], b"close") or has_element(connection, b"close")


def _upgrade(connection: list[bytes], protocols: list[bytes]) -> bytes:
    """The protocol to switch to, if the client asks for one that we support."""
    if leads_to(connection, b"upgrade") and leads_to(protocols, b"websocket"):
        return b"websocket"
    return b"h2c" if has_element(connection, b"http2-settings") and has_element(protocols, b"h2c") else b""


def _framing(
    headers: dict[bytes, list[bytes]], at_least_11: bool, max_fields: int
) -> tuple[int, tuple[bytes, ...]]:
    """The body's length (-1 for chunked) and the announced trailer names; removes what Go removes."""
    codings = headers.pop(b"Transfer-Encoding", None)
    chunked = at_least_11 and codings is not None
    if at_least_11 and codings is not None and [coding.lower() for coding in codings] != [b"chunked"]:
        raise HttpError(501, "unsupported transfer encoding")
    lengths = headers.get(b"Content-Length")
    length = 0
    if lengths:
        if any(other != lengths[0] for other in lengths):
            raise HttpError(400, "different Content-Length headers")
        headers[b"Content-Length"] = lengths[:1]
        length = parse_length(lengths[0])
    if not chunked:
        return length, ()
    headers.pop(b"Content-Length", None)
    return -1, _announced(headers.pop(b"Trailer", []), max_fields)


def _announced(values: list[bytes], max_fields: int) -> tuple[bytes, ...]:
    if sum(value.count(b",") + 1 for value in values) > max_fields:
        raise HttpError(431, "too many trailers")
    names = trailer_names(values)
    if not NOT_TRAILERS.isdisjoint(names):
        raise HttpError(400, "bad trailer key")
    return tuple(sorted(names))


def parse_length(text: bytes) -> int:
    """Parses a Content-Length; HttpError if it is not a 63-bit number."""
    digits = text.lstrip(b"0")
    if not _DIGITS.fullmatch(text) or len(digits) > _INT64_DIGITS or int(digits or b"0") >= 1 << 63:
        raise HttpError(400, "bad Content-Length")
    return int(digits or b"0")
