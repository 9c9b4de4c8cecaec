"""Header lines, parsed like Go's ``net/textproto``."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from podkit.go.header import TOKEN, canonical
from podkit.go.strconv import quote
from podkit.limits import Limits
from podkit.message import HttpError

MAX_FIELDS: Final = Limits().max_header_lines
_MAX_LINES: Final = 10_000  # including continuation lines, which Go does not count

_SHOWN: Final = 4096  # bytes of a malformed line
SPACED: Final = b" "  # replaces header names with spaces
_CONTROLS: Final = bytes((*range(0x09), *range(0x0B, 0x20), 0x7F))
_CACHED_LINE: Final = 128  # bytes
Read = Callable[[bytes], tuple[bytes, bytes]]


def parse_fields(block: bytes, max_fields: int = MAX_FIELDS) -> dict[bytes, list[bytes]]:
    """Parses the header or trailer lines in `block`, without an empty line, by canonical name.

    All names with spaces are under SPACED: Go accepts them here, and refuses or drops them later.
    Raises HttpError in Go's words, which mention trailers: 400 for a malformed line, 431 for too many.
    """
    lines = block.replace(b"\r\n", b"\n").split(b"\n", _MAX_LINES)
    if len(lines) > _MAX_LINES:
        raise HttpError(431, "message too large")
    try:
        return _read_fields(lines, _known_field, _read_field, max_fields)
    except HttpError:
        lines = _unfold(lines)  # there is a continuation line
    return _read_fields(lines, _read_unfolded, _read_unfolded, max_fields)


def _read_fields(lines: list[bytes], read_short: Read, read: Read, max_fields: int) -> dict[bytes, list[bytes]]:
    """Parses lines that are one header each."""
    if len(lines) > max_fields:
        _read_fields(lines[: max_fields + 1], read_short, read, max_fields + 1)  # a malformed line comes first
        raise HttpError(431, "message too large")
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, value = read_short(line) if len(line) <= _CACHED_LINE else read(line)
        if name in headers:
            headers[name].append(value)
        else:
            headers[name] = [value]
    return headers


def _read_field(line: bytes, strip: Callable[[bytes, bytes], bytes] = bytes.strip) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise _malformed(": missing colon", line)
    try:
        name = canonical(name)
    except ValueError:
        if line[:1] == b" " or not TOKEN.fullmatch(name.replace(b" ", b"")):
            raise _malformed(" line", line) from None
        name = SPACED
    if line.translate(None, _CONTROLS) != line:
        raise _malformed(" line", line)
    return name, strip(value, b" \t")


# even if a head is new, most of its lines have been seen before
_known_field: Read = lru_cache(maxsize=512)(_read_field)


def _read_unfolded(line: bytes) -> tuple[bytes, bytes]:
    return _read_field(line, bytes.lstrip)  # a blank continuation line leaves a trailing space


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
