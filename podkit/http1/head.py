"""Request heads, parsed like Go's ``net/http``: what it accepts, corrects and refuses."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from podkit.go.header import (
    CACHED_NAME,
    NOT_TRAILERS,
    TOKEN,
    canonical,
    has_element,
    has_token,
    known_canonical,
    leads_to,
    trailer_names,
)
from podkit.go.host import is_valid_host
from podkit.go.strconv import quote
from podkit.go.url import Target, parse_target
from podkit.limits import Limits
from podkit.message import Head, HttpError

_MAX_FIELDS: Final = Limits().max_header_lines
_MAX_LINES: Final = 10_000  # including continuation lines, which Go does not count

_SHOWN: Final = 4096  # bytes of a malformed line
SPACED: Final = b" "  # replaces header names with spaces
_CONTROLS: Final = bytes((*range(0x09), *range(0x0B, 0x20), 0x7F))
_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
# simple request lines: nothing to unescape, no scheme, no host
_PLAIN_LINE: Final = re.compile(
    rb"([A-Z]+) ((/[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]]*)(?:\?([^\x00-\x20\x7f]*))?) (HTTP/1\.[01])"
)
_CACHED_START: Final = 64  # bytes
_CARRIED_ON: Final = re.compile(rb"(?:[ \t][^\n]*(?:\n|\Z))*")
_DIGITS: Final = re.compile(rb"[0-9]+")
_INT64_DIGITS: Final = 19


def parse_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Splits a request line into method, target and protocol; HttpError if there are not three parts."""
    method, _, rest = line.partition(b" ")
    target, space, protocol = rest.partition(b" ")
    if not space or not TOKEN.fullmatch(method) or not _VERSION.fullmatch(protocol):
        raise HttpError(400, "malformed request line")
    return method, target, protocol


def parse_start(line: bytes) -> tuple[bytes, Target, bytes]:
    """Parses method, target and protocol of a request line; HttpError if one is malformed."""
    plain = _PLAIN_LINE.fullmatch(line)
    if plain is not None:
        method, request_uri, path, query, protocol = plain.groups(b"")
        return method, Target(path, query, b"", request_uri), protocol
    method, text, protocol = parse_request_line(line)
    try:
        return method, parse_target(method, text), protocol
    except ValueError as problem:
        raise HttpError(400, str(problem)) from None


# cached for request lines that are likely to be repeated
_known_start = lru_cache(maxsize=256)(parse_start)


def parse_fields(block: bytes, max_fields: int = _MAX_FIELDS) -> dict[bytes, list[bytes]]:
    """Parses the header or trailer lines in `block`, without an empty line, by canonical name.

    All names with spaces are under SPACED: Go accepts them here, and refuses or drops them later.
    Raises HttpError in Go's words, which mention trailers: 400 for a malformed line, 431 for too many.
    """
    text = block.replace(b"\r\n", b"\n")
    lines = text.split(b"\n", _MAX_LINES)
    if len(lines) > _MAX_LINES:
        raise HttpError(431, "message too large")
    clean = text.translate(None, _CONTROLS) == text
    try:
        return _read_fields(lines, bytes.strip, clean, max_fields)
    except HttpError:
        lines = _unfold(lines)  # there is a continuation line
    return _read_fields(
        lines, bytes.lstrip, clean, max_fields
    )  # a blank continuation line leaves a trailing space


def _read_fields(
    lines: list[bytes], strip: Callable[[bytes, bytes], bytes], clean: bool, max_fields: int
) -> dict[bytes, list[bytes]]:
    """Parses lines that are one header each. `clean`: they have no control characters."""
    if len(lines) > max_fields:
        raise HttpError(431, "message too large")
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise _malformed(": missing colon", line)
        try:
            name = known_canonical(name) if len(name) <= CACHED_NAME else canonical(name)
        except ValueError:
            if line[:1] == b" " or not TOKEN.fullmatch(name.replace(b" ", b"")):
                raise _malformed(" line", line) from None
            name = SPACED
        if not clean and line.translate(None, _CONTROLS) != line:
            raise _malformed(" line", line)
        if name in headers:
            headers[name].append(strip(value, b" \t"))
        else:
            headers[name] = [strip(value, b" \t")]
    return headers


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


def _malformed(what: str, line: bytes) -> HttpError:
    shown = quote(line[:_SHOWN].rstrip(b" \t").decode("utf-8", "surrogateescape"))
    return HttpError(400, f"malformed MIME header{what}: {shown}")


def _unfold(lines: list[bytes]) -> list[bytes]:
    """Joins continuation lines, which start with a space, to their headers."""
    whole: list[list[bytes]] = []
    for line in lines:
        if line[:1] not in (b" ", b"\t"):
            whole.append([line.rstrip(b" \t")])
        elif not whole:
            raise _malformed(" initial line", line)
        elif b":" not in whole[-1][0]:
            raise _malformed(": missing colon", whole[-1][0])
        else:
            whole[-1].append(line.strip(b" \t"))
    return [b" ".join(pieces) for pieces in whole]


def parse_head(block: bytes, max_fields: int = _MAX_FIELDS) -> Head:
    """Parses the head in `block`: request line and header lines, up to the last one's line feed.

    So `block` may end in a carriage return, but only one that belongs to that line's end. Raises HttpError with
    the original's status.
    """
    start, _, fields = block.removesuffix(b"\r").partition(b"\n")
    start = start.removesuffix(b"\r")
    method, target, protocol = _known_start(start) if len(start) <= _CACHED_START else parse_start(start)
    headers = parse_fields(fields, max_fields) if fields else {}
    version = protocol[5] - 48, protocol[7] - 48

    hosts = headers.pop(b"Host", None)
    if hosts and len(hosts) > 1:
        raise HttpError(400, "too many Host headers")
    at_least_11 = version >= (1, 1)
    length, trailers = _framing(headers, at_least_11, max_fields)
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
