"""Request heads, read as Go's ``net/http`` reads them: what it accepts, corrects and refuses."""

import re
from typing import Final

from podkit.go.header import NOT_TRAILERS, TOKEN, canonical, tokens, trailer_names
from podkit.go.url import Target, parse_target
from podkit.message import Head, HttpError

MAX_HEAD: Final = (1 << 20) + 4096  # bytes of request line and headers, as the original's limit
MAX_LINES: Final = 10_000  # of a head, since each line costs more than its bytes

_CONTROLS: Final = bytes((*range(0x09), *range(0x0B, 0x20), 0x7F))
_HOST: Final = re.compile(rb"[A-Za-z0-9!$%&()*+,\-.:;=\[\]'_~]*")
_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
# request lines that mean what they say: nothing to unescape, no scheme, no host
_PLAIN_LINE: Final = re.compile(
    rb"([A-Z]+) ((/[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]]*)(?:\?(\S*))?) (HTTP/1\.[01])"
)
_DIGITS: Final = re.compile(rb"[0-9]{1,19}")


def parse_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and protocol of a request line; HttpError where there are not three of them."""
    method, _, rest = line.partition(b" ")
    target, space, protocol = rest.partition(b" ")
    if not space or not TOKEN.fullmatch(method) or not _VERSION.fullmatch(protocol):
        raise HttpError(400, "malformed request line")
    return method, target, protocol


def parse_start(line: bytes) -> tuple[bytes, Target, bytes]:
    """Method, target and protocol of a request line; HttpError where one of them is malformed."""
    plain = _PLAIN_LINE.fullmatch(line)
    if plain is not None:
        method, request_uri, path, query, protocol = plain.groups(b"")
        return method, Target(path, query, b"", request_uri), protocol
    method, text, protocol = parse_request_line(line)
    try:
        return method, parse_target(method, text), protocol
    except ValueError as problem:
        raise HttpError(400, str(problem)) from None


def parse_headers(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    """Header lines (without line ends) by canonical name; a line that starts with space goes on the last."""
    headers: dict[bytes, list[bytes]] = {}
    values: list[bytes] | None = None
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or line[0] in b" \t":
            if values is None or line[:1] not in (b" ", b"\t"):
                raise HttpError(400, "malformed header")
            values[-1] = (values[-1] + b" " + line.strip(b" \t")).strip(b" \t")
            continue
        try:
            name = canonical(name)
        except ValueError as problem:
            raise HttpError(400, str(problem)) from None
        values = headers.get(name)
        if values is None:
            values = headers[name] = [value.strip(b" \t")]
        else:
            values.append(value.strip(b" \t"))
    return headers


def parse_head(block: bytes) -> Head:
    """The head in `block`: a request line and header lines, up to but without the empty line.

    Raises HttpError with the status that the original answers.
    """
    text = block.replace(b"\r\n", b"\n").removesuffix(b"\r")
    lines = text.split(b"\n")
    if len(lines) > MAX_LINES:
        raise HttpError(431, "too many header lines")
    method, target, protocol = parse_start(lines[0])
    if text.translate(None, _CONTROLS) != text:
        raise HttpError(400, "control character in the head")
    headers = parse_headers(lines[1:])
    major, minor = protocol[5] - 48, protocol[7] - 48

    hosts = headers.pop(b"Host", None)
    if hosts and len(hosts) > 1:
        raise HttpError(400, "too many Host headers")
    connection = tokens(headers.get(b"Connection")) if b"Connection" in headers else []
    at_least_11 = (major, minor) >= (1, 1)
    length, trailer_names = _framing(headers, at_least_11)
    if major != 1:
        raise HttpError(505, "unsupported protocol version")
    if hosts is None and at_least_11 and method != b"CONNECT":
        raise HttpError(400, "missing required Host header")
    host = target.host or (hosts[0] if hosts else b"")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise HttpError(400, "malformed Host header")
    if b"Pragma" in headers and headers[b"Pragma"][0] == b"no-cache":
        headers.setdefault(b"Cache-Control", [b"no-cache"])  # as Go does for old clients
    return Head(
        method,
        target.path,
        target.query,
        target.request_uri,
        host,
        (major, minor),
        headers,
        b"close" in connection or (not at_least_11 and b"keep-alive" not in connection),
        length,
        trailer_names,
        _upgrade(connection, headers) if connection else b"",
    )


def _upgrade(connection: list[bytes], headers: dict[bytes, list[bytes]]) -> bytes:
    """The protocol that the client would rather speak, of those that are spoken here."""
    protocols = tokens(headers.get(b"Upgrade"))
    if b"upgrade" in connection and b"websocket" in protocols:
        return b"websocket"
    return b"h2c" if b"http2-settings" in connection and b"h2c" in protocols else b""


def _framing(headers: dict[bytes, list[bytes]], at_least_11: bool) -> tuple[int, tuple[bytes, ...]]:
    """The body's length (-1 for chunked) and the names of announced trailers; removes what Go removes."""
    codings = headers.pop(b"Transfer-Encoding", None)
    if codings is not None and at_least_11:
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise HttpError(501, "unsupported transfer encoding")
        headers.pop(b"Content-Length", None)
        try:
            names = trailer_names(headers.pop(b"Trailer", []))
        except ValueError as problem:
            raise HttpError(400, str(problem)) from None
        if NOT_TRAILERS.intersection(names):
            raise HttpError(400, "bad trailer key")
        return -1, tuple(sorted(names))
    lengths = headers.get(b"Content-Length")
    if not lengths:
        return 0, ()
    if any(length != lengths[0] for length in lengths):
        raise HttpError(400, "different Content-Length headers")
    headers[b"Content-Length"] = lengths[:1]
    if not _DIGITS.fullmatch(lengths[0]) or int(lengths[0]) >= 1 << 63:
        raise HttpError(400, "bad Content-Length")
    return int(lengths[0]), ()
