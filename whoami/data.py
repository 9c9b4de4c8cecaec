"""``/data``: the requested number of bytes, streamed or as an attachment with ranges."""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from time import time

from podkit.go.date import parse_date, render_date
from podkit.go.strconv import parse_int, wrap_int64
from podkit.go.url import is_on, parse_query
from podkit.message import PLAIN_TEXT, Fields, Head, Request, Response, error

_PATTERN = b"-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BLOCK = 1 << 18  # bytes per write
_KNOWN = {1: 511, 2: 4096}  # bytes up to which the original announces a stream's length for HEAD
_SMALL = 16 * 1024  # answers up to this size are one block
_CACHED_QUERY = 64  # bytes
_SMALL_BLOCK = memoryview(_PATTERN * (_SMALL // len(_PATTERN) + 2))
_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_DISPOSITION = (b"Content-Disposition", b"Attachment")
_TAGS = re.compile(rb'(?:[ \t,]++|(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+")*+')  # leading run of valid entity tags
_MAX_TAGS = 65536  # bytes of a list of entity tags that are looked at
_BYTES = (b"Accept-Ranges", b"bytes")


def data(request: Request) -> Response:
    """Answers ``size`` bytes of a pattern between two bars; with ``attachment=true`` as a download."""
    head = request.head
    size, is_attachment = (_known_options if len(head.query) <= _CACHED_QUERY else _parse_options)(head.query)
    if is_attachment:
        return _attachment(head, wrap_int64(size - 1))  # the original's attachments are one byte shorter
    if size < 2:
        return Response()
    if head.method == b"HEAD" and size > _KNOWN[head.version[0]]:
        return Response(200, (PLAIN_TEXT,))
    if head.method != b"HEAD" and size <= _SMALL:
        return _small(size)
    return _response(head, 200, (PLAIN_TEXT,), 0, size, size)


def _parse_options(query: bytes) -> tuple[int, bool]:
    """The size in bytes that a query asks for, and whether it asks for an attachment."""
    options = parse_query(query)
    try:
        size = max(0, parse_int(options.get("size", "")))
    except ValueError:
        size = 1
    return wrap_int64(size * _UNITS.get(options.get("unit", "").lower(), 1)), is_on(options, "attachment")


_known_options = lru_cache(maxsize=64)(_parse_options)


@lru_cache(maxsize=16)
def _small(size: int) -> Response:
    return Response(200, (PLAIN_TEXT,), b"".join(pattern(0, size, size)), is_kept=True)


@cache
def _block() -> memoryview:
    """A whole number of patterns; built on first use."""
    return memoryview(_PATTERN * (_BLOCK // len(_PATTERN)))


def _response(head: Head, status: int, headers: Fields, start: int, end: int, size: int) -> Response:
    if head.method == b"HEAD":
        return Response(status, headers, length=end - start)
    if end - start <= _SMALL:
        return Response(status, headers, b"".join(pattern(start, end, size)))
    return Response(status, headers, pattern(start, end, size), end - start)


def pattern(start: int, end: int, size: int) -> Iterator[bytes | memoryview]:
    """The bytes from `start` to `end` of a content of `size` bytes: a pattern between two bars."""
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
    """The content as Go's ``http.ServeContent`` serves a file that was modified just now."""
    now = int(time())
    modified = (b"Last-Modified", render_date(now))
    status, ranged = _preconditions(head, now)
    if status in (304, 412):
        return Response(status, (_DISPOSITION, modified))
    if size < 0:  # the original cannot seek in it either
        return error(500, "seeker can't seek", _DISPOSITION)
    try:
        span = parse_range(head.header(b"Range") if ranged else b"", size)
    except RangeError as problem:
        return error(416, str(problem), _DISPOSITION, *problem.headers)
    fields = (_BYTES, _DISPOSITION, modified)
    if span is None:
        return _response(head, 200, (*fields, PLAIN_TEXT), 0, size, size)
    start, end = span
    content_range = (b"Content-Range", b"bytes %d-%d/%d" % (start, end - 1, size))
    return _response(head, 206, (*fields, content_range, PLAIN_TEXT), start, end, size)


class RangeError(Exception):
    """A Range header cannot be satisfied; carries the headers for the answer."""

    def __init__(self, text: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(text)
        self.headers = headers


def parse_range(text: bytes, size: int) -> tuple[int, int] | None:
    """The span (start, exclusive end) of a Range header; None to serve everything.

    Without a header, or with several ranges, everything is served. Raises RangeError if the header is
    malformed, or if its range does not overlap the content.
    """
    if not text:
        return None
    unit, given, ranges = text.partition(b"bytes=")
    if unit or not given:
        raise RangeError("invalid range")
    if not ranges.strip(b" \t") or b"," in ranges:
        return None
    first, dash, last = (word.strip(" \t") for word in ranges.decode("latin-1").partition("-"))
    try:
        if not dash or (not first and last.startswith("-")):
            raise ValueError("not a range")
        if not first:
            return size - min(parse_int(last), size), size
        start = parse_int(first)
        if start < 0:
            raise ValueError("not a range")
        if start < size:
            end = parse_int(last) if last else size - 1
            if start > end:
                raise ValueError("not a range")
            return start, min(end, size - 1) + 1
    except ValueError:
        raise RangeError("invalid range") from None
    if not size:
        return None
    raise RangeError("invalid range: failed to overlap", (b"Content-Range", b"bytes */%d" % size))


def _preconditions(head: Head, modified: int) -> tuple[int, bool]:
    """The status that the conditional headers require, and whether ranges may be served (RFC 9110, 13.2)."""
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
    condition = head.header(b"If-Range") if reading else b""
    return 200, not condition or _date(condition) == modified


def _names_any(tags: bytes) -> bool:
    """Whether a list of entity tags contains ``*``; the content has no tag, so nothing else can match."""
    found = _TAGS.match(tags, 0, _MAX_TAGS)
    return found is not None and tags.startswith(b"*", found.end())


def _date(text: bytes) -> int | None:
    """Seconds of an HTTP date; None for any other text, which the original ignores."""
    try:
        return parse_date(text)
    except ValueError:
        return None
