"""Request heads of HTTP/2, read as Go's server reads them (RFC 9113, 8.2 and 8.3)."""

import re
from collections.abc import Iterable
from typing import Final

from podkit.go.header import NOT_TRAILERS, canonical, tokens, trailer_names
from podkit.go.url import parse_target
from podkit.message import Head, Headers, HttpError

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_UPPER: Final = re.compile(rb"[A-Z]")
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
MAX_LINES: Final = 10_000
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
_OF_HTTP1: Final = (b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade")

Fields = Iterable[tuple[bytes, bytes]]


class Malformed(Exception):
    """The fields of a request that is an error of its stream: PROTOCOL_ERROR."""


def parse_fields(fields: Fields, ended: bool) -> tuple[Head, bool]:
    """The head that a stream opens with, and whether the client waits for 100. `ended`: no body follows.

    Raises Malformed, or HttpError where the client is to get an answer. A body of unknown length is -1.
    """
    pseudo, headers = _split(fields)
    method, authority = pseudo.get(b":method", b""), pseudo.get(b":authority", b"")
    raw_target = pseudo.get(b":path", b"")
    if method == b"CONNECT":
        if not authority or raw_target or b":scheme" in pseudo:
            raise Malformed("CONNECT has an authority and nothing else")
        raw_target = authority
    elif not method or pseudo.get(b":scheme") not in (b"http", b"https"):
        raise Malformed("a request has a method and a scheme")
    elif not raw_target.startswith(b"/") and raw_target != b"*":
        raise Malformed("a path starts with a slash")
    _refuse_http1(headers)
    try:
        target = parse_target(method, raw_target)
    except ValueError as problem:
        raise Malformed(str(problem)) from None
    waits = b"100-continue" in tokens(headers.get(b"Expect"))
    if waits:
        del headers[b"Expect"]
    if len(headers.get(b"Cookie", ())) > 1:
        headers[b"Cookie"] = [b"; ".join(headers[b"Cookie"])]
    names = tuple(sorted(trailer_names(headers.pop(b"Trailer", [])) - NOT_TRAILERS))
    length = 0
    if not ended:  # a length of 0 with a body to come is as good as none: Go's quirk
        text = headers.get(b"Content-Length", [b""])[0]
        length = (int(text) if _DIGITS.fullmatch(text) else 0) or -1
    host = authority or headers.get(b"Host", [b""])[0]
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
        names,
        b"",
    )
    return head, waits


def parse_trailers(fields: Fields, announced: tuple[bytes, ...]) -> Headers:
    """The trailers that the request announced; the others are dropped."""
    pseudo, trailers = _split(fields)
    if pseudo:
        raise Malformed("trailers have no pseudo-header fields")
    return {name: values for name, values in trailers.items() if name in announced}


def _split(fields: Fields) -> tuple[dict[bytes, bytes], dict[bytes, list[bytes]]]:
    pseudo: dict[bytes, bytes] = {}
    headers: dict[bytes, list[bytes]] = {}
    count = 0
    for name, value in fields:
        count += 1
        if _CONTROL.search(value):
            raise Malformed("control character in a field")
        if name.startswith(b":"):
            if headers or name in pseudo or name not in _PSEUDO:
                raise Malformed("pseudo-header fields are known ones, come first, and once")
            pseudo[name] = value
            continue
        if _UPPER.search(name):
            raise Malformed("upper case in a field's name")
        try:
            headers.setdefault(canonical(name), []).append(value)
        except ValueError as problem:
            raise Malformed(str(problem)) from None
    if count > MAX_LINES:
        raise HttpError(431, "too many header lines")
    return pseudo, headers


def _refuse_http1(headers: Headers) -> None:
    """What only HTTP/1.1 has is refused in the original's words."""
    for name in _OF_HTTP1:
        if name in headers:
            raise HttpError(400, f'request header "{name.decode()}" is not valid in HTTP/2')
    if headers.get(b"Te", [b"trailers"]) not in ([b"trailers"], [b""]):
        raise HttpError(400, 'request header "TE" may only be "trailers" in HTTP/2')
