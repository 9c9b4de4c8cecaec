"""``/data``: as many bytes as asked for, streamed or as an attachment with ranges."""

import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cache
from time import time

from podkit.go.strconv import parse_int, wrap_int64
from podkit.go.url import is_on, parse_query
from podkit.message import PLAIN_TEXT, Head, Request, Response, error

_PATTERN = b"-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BLOCK = 1 << 20  # bytes to send at once; a quarter of it takes a third longer
_SMALL = 16 * 1024  # answers up to this size are made in one piece
_SMALL_BLOCK = memoryview(_PATTERN * (_SMALL // len(_PATTERN) + 2))
_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_DISPOSITION = (b"Content-Disposition", b"Attachment")
_TAGS = re.compile(rb'(?:[ \t,]|(?:W/)?"[\x21\x23-\x7e\x80-\xff]*")*')  # that come before what is none
_DATE_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_BYTES = (b"Accept-Ranges", b"bytes")


def data(request: Request) -> Response:
    """``size`` bytes of a pattern between two bars; with ``attachment=true`` as a download."""
    query = parse_query(request.head.query)
    try:
        size = max(0, parse_int(query.get("size", "")))
    except ValueError:
        size = 1
    size = wrap_int64(size * _UNITS.get(query.get("unit", "").lower(), 1))
    if is_on(query, "attachment"):
        return _attachment(request.head, size - 1)  # the original's attachments are a byte shorter
    if size < 2:
        return Response()
    return _response(200, (PLAIN_TEXT,), 0, size, size)


@cache
def _block() -> memoryview:
    """A whole number of patterns; not made before somebody asks for that many."""
    return memoryview(_PATTERN * (_BLOCK // len(_PATTERN)))


def _response(
    status: int, headers: tuple[tuple[bytes, bytes], ...], start: int, end: int, size: int
) -> Response:
    if end - start <= _SMALL:
        return Response(status, headers, b"".join(pattern(start, end, size)))
    return Response(status, headers, pattern(start, end, size), end - start)


def pattern(start: int, end: int, size: int) -> Iterator[bytes | memoryview]:
    """The bytes from `start` to `end` of a content of `size` bytes: a pattern, first and last byte a bar."""
    if start == 0 and end > 0:
        yield b"|"
        start = 1
    last = end == size and end > start
    stop = end - 1 if last else end
    block = _block() if stop - start > _SMALL else _SMALL_BLOCK
    while start < stop:
        offset = start % len(_PATTERN)
        piece = block[offset : offset + stop - start]
        yield piece
        start += len(piece)
    if last:
        yield b"|"


def _attachment(head: Head, size: int) -> Response:
    """The content as Go's ``http.ServeContent`` serves a file that was changed just now."""
    if size < 0:  # the original can't seek in it either
        return error(500, "seeker can't seek", _DISPOSITION)
    now = int(time())
    modified = (b"Last-Modified", formatdate(now, usegmt=True).encode())
    status, ranged = _preconditions(head, now)
    if status in (304, 412):
        return Response(status, (_DISPOSITION, modified))
    try:
        ranges = parse_ranges(head.header(b"Range") if ranged else b"", size)
    except RangeError as problem:
        fields = (_DISPOSITION, *problem.headers)
        return error(416, str(problem), *fields)
    if sum(end - start for start, end in ranges) > size:
        ranges = []
    fields = (_BYTES, _DISPOSITION, modified)
    if not ranges:
        return _response(200, (*fields, PLAIN_TEXT), 0, size, size)
    if len(ranges) == 1:
        start, end = ranges[0]
        fields = (*fields, (b"Content-Range", _content_range(start, end, size)), PLAIN_TEXT)
        return _response(206, fields, start, end, size)
    boundary = secrets.token_hex(30).encode()
    parts = [
        (_part_head(boundary, start, end, size, first), start, end) for first, (start, end) in _first(ranges)
    ]
    ending = b"\r\n--%s--\r\n" % boundary
    length = sum(len(part) + end - start for part, start, end in parts) + len(ending)
    kind = (b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    return Response(206, (*fields, kind), _multipart(parts, ending, size), length)


def _first(ranges: list[tuple[int, int]]) -> Iterator[tuple[bool, tuple[int, int]]]:
    return ((index == 0, span) for index, span in enumerate(ranges))


def _part_head(boundary: bytes, start: int, end: int, size: int, first: bool) -> bytes:
    return b"%s--%s\r\nContent-Range: %s\r\nContent-Type: %s\r\n\r\n" % (
        b"" if first else b"\r\n",
        boundary,
        _content_range(start, end, size),
        PLAIN_TEXT[1],
    )


def _multipart(parts: list[tuple[bytes, int, int]], ending: bytes, size: int) -> Iterator[bytes | memoryview]:
    for part, start, end in parts:
        yield part
        yield from pattern(start, end, size)
    yield ending


def _content_range(start: int, end: int, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (start, end - 1, size)


class RangeError(Exception):
    """A Range header that can't be served, with the headers to send along."""

    def __init__(self, text: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(text)
        self.headers = headers


def parse_ranges(text: bytes, size: int) -> list[tuple[int, int]]:
    """The spans (start, end behind the last byte) of a Range header; none where there is no header.

    Raises RangeError where the header is malformed, or no span overlaps the content.
    """
    if not text:
        return []
    if not text.startswith(b"bytes="):
        raise RangeError("invalid range")
    spans: list[tuple[int, int]] = []
    outside = False
    for part in text[6:].decode("latin-1").split(","):
        part = part.strip(" \t")
        if not part:
            continue
        first, dash, last = (word.strip(" \t") for word in part.partition("-"))
        try:
            if not dash or (not first and (not last or last.startswith("-"))):
                raise ValueError(part)
            if not first:
                length = min(parse_int(last), size)
                spans.append((size - length, size))
                continue
            start = parse_int(first)
            if start < 0:
                raise ValueError(part)
            if start >= size:
                outside = True
                continue
            end = parse_int(last) if last else size - 1
            if start > end:
                raise ValueError(part)
        except ValueError:
            raise RangeError("invalid range") from None
        spans.append((start, min(end, size - 1) + 1))
    if outside and not spans:
        if not size:
            return []
        raise RangeError("invalid range: failed to overlap", (b"Content-Range", b"bytes */%d" % size))
    return spans


def _preconditions(head: Head, modified: int) -> tuple[int, bool]:
    """The status that the conditional headers ask for, and whether a range may be served (RFC 9110, 13.2)."""
    reading = head.method in (b"GET", b"HEAD")
    if head.header(b"If-Match"):
        if not _names_any(head.header(b"If-Match")):
            return 412, False
    else:
        unmodified = _date(head.header(b"If-Unmodified-Since"))
        if unmodified is not None and modified > unmodified:
            return 412, False
    if head.header(b"If-None-Match"):
        if _names_any(head.header(b"If-None-Match")):
            return (304 if reading else 412), False
    elif reading:
        since = _date(head.header(b"If-Modified-Since"))
        if since is not None and modified <= since:
            return 304, False
    condition = head.header(b"If-Range")
    return 200, not condition or _date(condition) == modified


def _names_any(tags: bytes) -> bool:
    """Whether a list of entity tags holds ``*``; the content has no tag, so no other can match."""
    return _TAGS.sub(b"", tags, count=1).startswith(b"*")


def _date(text: bytes) -> int | None:
    """Seconds of an HTTP date in one of RFC 9110's three forms, or None."""
    for form in _DATE_FORMS if text else ():
        with suppress(ValueError):
            return int(datetime.strptime(text.decode("latin-1"), form).replace(tzinfo=UTC).timestamp())
    return None
