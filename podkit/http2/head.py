"""HTTP/2 request heads, parsed like Go's server (RFC 9113, 8.2 and 8.3)."""

import re
from typing import Final, NamedTuple

from podkit.go.header import LACKS_BODY, NOT_TRAILERS, TOKEN, canonical, is_trailer, tokens, trailer_names
from podkit.go.url import Target, parse_target
from podkit.http2.frames import Code, StreamFault
from podkit.limits import Limits
from podkit.message import FIELD_COST, Head, Headers, Response, error

_CONTROLS: Final = bytes((*range(0x09), *range(0x0A, 0x20), 0x7F))
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_OF_HTTP1: Final = (b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade")

Pairs = list[tuple[bytes, bytes]]


class Opening(NamedTuple):
    """The parsed fields that open a stream."""

    head: Head  # a body of unknown length is -1 here
    declared: int  # the content-length; -1 if there is none
    waits: bool  # for 100, before the client sends the body
    size: int  # memory it takes, in bytes
    fields: Pairs  # as decoded


class Malformed(StreamFault):
    """A request whose fields violate RFC 9113. The client gets the code; `reason` is for debugging."""

    def __init__(self, reason: str) -> None:
        super().__init__(Code.PROTOCOL_ERROR)
        self.reason = reason


def parse_fields(fields: Pairs, size: int, ended: bool) -> Opening:
    """Parses a stream's first fields; `ended` means that there is no body. Raises Malformed."""
    pseudo, headers = _split(fields)
    method, authority = pseudo.get(b":method", b""), pseudo.get(b":authority", b"")
    raw_target = pseudo.get(b":path", b"")
    host = authority or headers.get(b"Host", [b""])[0]
    if not TOKEN.fullmatch(method) or b"@" in host:
        raise Malformed("a method is a token, an authority a host and a port")
    if method == b"CONNECT":
        if not authority or raw_target or b":scheme" in pseudo:
            raise Malformed("CONNECT has an authority and nothing else")
    elif pseudo.get(b":scheme") not in (b"http", b"https"):
        raise Malformed("a request has a scheme")
    elif not raw_target.startswith(b"/") and raw_target != b"*":
        raise Malformed("a path starts with a slash")
    try:
        connects = method == b"CONNECT"
        target = Target(b"", b"", host, host) if connects else parse_target(method, raw_target)
    except ValueError as problem:
        raise Malformed(str(problem)) from None
    if len(headers.get(b"Cookie", ())) > 1:
        headers[b"Cookie"] = [b"; ".join(headers[b"Cookie"])]
    waits = b"Expect" in headers and b"100-continue" in tokens(headers[b"Expect"])
    if waits:
        del headers[b"Expect"]
    names: tuple[bytes, ...] = ()
    if b"Trailer" in headers:
        listed = headers.pop(b"Trailer")
        empty = {b""}.intersection(tokens(listed))  # which counts for Go, as a name that is invalid
        names = tuple(sorted(trailer_names(listed) - NOT_TRAILERS | empty))
    declared = _content_length(headers)
    if ended and declared > 0:
        raise Malformed("a body is announced, and none follows")
    # Go's quirks: a length of 0 with a body still to come counts as unknown, as does a POST without a body
    length = 0 if ended and method in LACKS_BODY else max(declared, 0) or -1
    head = Head(
        method,
        target.path,
        target.query,
        target.request_uri,
        host,
        (2, 0),
        headers,
        False,
        length,
        names if length < 0 else (),
        b"",
    )
    return Opening(head, declared, waits, size + FIELD_COST * len(fields), fields)


def render_fields(fields: Pairs) -> bytes:
    """Renders fields as text, one per line, in order."""
    return b"".join([b"%s: %s\r\n" % pair for pair in fields])


def _content_length(headers: dict[bytes, list[bytes]]) -> int:
    lengths = headers.get(b"Content-Length")
    if lengths is None:
        return -1
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise Malformed("a content-length is one number")
    return int(lengths[0])


def without_body(head: Head) -> Head:
    """The head of a request whose body turned out empty; Go expects one for methods without a body."""
    return head._replace(length=0, trailer_names=()) if head.method in LACKS_BODY and head.length < 0 else head


def refuse(opening: Opening, limits: Limits) -> Response | None:
    """The answer to a request that the original refuses, in its words."""
    headers = opening.head.headers
    if len(opening.fields) > limits.max_header_lines:
        return error(431, "too many header lines")
    for name in _OF_HTTP1:
        if name in headers:
            return error(400, f'request header "{name.decode()}" is not valid in HTTP/2')
    if headers.get(b"Te", [b"trailers"]) not in ([b"trailers"], [b""]):
        return error(400, 'request header "TE" may only be "trailers" in HTTP/2')
    return None


def parse_trailers(fields: Pairs, announced: tuple[bytes, ...]) -> Headers:
    """Parses the announced trailers and drops the others. Raises Malformed."""
    pseudo, trailers = _split(fields)
    if pseudo:
        raise Malformed("trailers have no pseudo-header fields")
    if announced and not all(map(is_trailer, trailers)):
        raise Malformed("a trailer has a name that is for headers")
    return {name: values for name, values in trailers.items() if name in announced}


def _split(fields: Pairs) -> tuple[dict[bytes, bytes], dict[bytes, list[bytes]]]:
    pseudo: dict[bytes, bytes] = {}
    headers: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if len(value.translate(None, _CONTROLS)) != len(value):
            raise Malformed("control character in a field")
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise Malformed("pseudo-header fields are known ones, come first, and once")
            pseudo[name] = value
            continue
        if name != name.lower():
            raise Malformed("upper case in a field's name")
        try:
            name = canonical(name)
        except ValueError as problem:
            raise Malformed(str(problem)) from None
        if name in headers:
            headers[name].append(value)
        else:
            headers[name] = [value]
    return pseudo, headers
