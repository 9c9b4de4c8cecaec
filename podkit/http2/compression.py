"""Header blocks (HPACK, RFC 7541): decoded with the hpack library's tables, encoded without a dynamic table.

The library's own decoder copies the rest of the block for each field, so large blocks take quadratic time. We
encode with the static table only, so a client cannot make us keep a table.
"""

from collections.abc import Generator
from functools import lru_cache
from typing import Final

from hpack.exceptions import HPACKDecodingError, HPACKError
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
    decode_huffman,
)
from hpack.table import HeaderTable

from podkit.http2.frames import Code, ConnectionFault
from podkit.message import Fields, Head, Response, content_length
from podkit.server import Clock

NO_TABLE: Final = b"\x20"  # precedes our first block: our table has size 0
_FIELD_OVERHEAD: Final = 32  # bytes that a field adds to the size of a list
_STEP: Final = 4096  # bytes to decode at once
_HELD: Final = 4  # bytes held for each byte of a block: itself, a text in it, and that text decoded
_CACHED: Final = 64  # bytes; longer values are not cached
_STATIC: Final = {field: number for number, field in reversed([*enumerate(HeaderTable.STATIC_TABLE, 1)])}
_NAMES: Final = {field[0]: number for number, field in reversed([*enumerate(HeaderTable.STATIC_TABLE, 1)])}


class Decoder:
    """Decodes a client's header blocks in order, each of at most `max_size` bytes and `max_fields`."""

    def __init__(self, max_size: int, max_fields: int) -> None:
        self._max_size = max_size
        self._max_fields = max_fields
        self._table = HeaderTable()
        self.size = 0  # bytes held for a block while it is being decoded

    def decode(self, block: bytes) -> Generator[int, None, tuple[list[tuple[bytes, bytes]], int, bool]]:
        """A block's fields, their size (RFC 9113, 6.5.2), and whether it leaves the table unchanged.

        It takes steps, and yields the work of each in bytes. Raises ConnectionFault: after an incompletely
        decoded block, no other can be decoded.
        """
        self.size = _HELD * len(block)
        try:
            return (yield from self._decode(block))
        except (IndexError, HPACKError):
            raise ConnectionFault(Code.COMPRESSION_ERROR) from None
        finally:
            self.size = 0

    def _decode(self, block: bytes) -> Generator[int, None, tuple[list[tuple[bytes, bytes]], int, bool]]:
        fields: list[tuple[bytes, bytes]] = []
        table, size, noted, changes, position = self._table, 0, 0, 0, 0
        while position < len(block):
            first = block[position]
            if 0x80 < first <= 0x80 + HeaderTable.STATIC_TABLE_LENGTH:
                name, value = HeaderTable.STATIC_TABLE[first - 0x81]
                position += 1
            elif first & 0x80:
                index, position = _read_integer(block, position, 0x7F)
                name, value = table.get_by_index(index)
            elif first & 0xE0 == 0x20:
                limit, position = _read_integer(block, position, 0x1F)
                if fields or changes > 1 or limit > HeaderTable.DEFAULT_SIZE:
                    raise ConnectionFault(Code.COMPRESSION_ERROR)
                table.maxsize, changes = limit, changes + 1
                continue
            else:
                keeps = first & 0x40
                index, position = _read_integer(block, position, 0x3F if keeps else 0x0F)
                if index:
                    name = table.get_by_index(index)[0]
                else:
                    name, is_coded, position = _read_text(block, position)
                    if is_coded:
                        name = yield from _decode_huffman(name)
                value, is_coded, position = _read_text(block, position)
                if is_coded:
                    value = yield from _decode_huffman(value)
                if keeps:
                    table.add(name, value)
                    changes += 1
            fields.append((name, value))
            size += len(name) + len(value) + _FIELD_OVERHEAD
            if size > self._max_size or len(fields) > self._max_fields:
                raise ConnectionFault(Code.ENHANCE_YOUR_CALM)
            if size - noted >= _STEP:
                self.size = _HELD * len(block) + size
                yield size - noted
                noted = size
        yield size - noted
        return fields, size, not changes


def _read_integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    for shift in range(0, 35, 7):
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ConnectionFault(Code.COMPRESSION_ERROR)


def _read_text(block: bytes, position: int) -> tuple[bytes, bool, int]:
    """A text, whether it is a long one that is still Huffman-coded, and the position after it."""
    is_huffman = block[position] & 0x80
    length, position = _read_integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise ConnectionFault(Code.COMPRESSION_ERROR)
    text = block[position:end]
    if not is_huffman or length > _STEP:
        return text, bool(is_huffman), end
    return decode_huffman(text), False, end


def _decode_huffman(text: bytes) -> Generator[int, None, bytes]:
    """Decodes a long text in steps, which the library's function cannot do."""
    out, state, flags = bytearray(), 0, 0
    for start in range(0, len(text), _STEP):
        for byte in text[start : start + _STEP]:
            for half in (byte >> 4, byte & 0x0F):
                state, flags, symbol = HUFFMAN_TABLE[state * 16 + half]
                if flags & HUFFMAN_FAIL:
                    raise HPACKDecodingError
                if flags & HUFFMAN_EMIT_SYMBOL:
                    out.append(symbol)
        yield _STEP
    if not flags & HUFFMAN_COMPLETE:
        raise HPACKDecodingError
    return bytes(out)


def encode(fields: Fields) -> bytes:
    """Encodes a header block."""
    return b"".join([_cached(*field) if len(field[1]) <= _CACHED else _encode(*field) for field in fields])


def _encode(name: bytes, value: bytes) -> bytes:
    name = name.lower()
    if (name, value) in _STATIC:
        return _write_integer(_STATIC[name, value], 0x7F, 0x80)
    number = _NAMES.get(name, 0)
    start = _write_integer(number, 0x0F, 0) if number else b"\0" + _write_integer(len(name), 0x7F, 0) + name
    return start + _write_integer(len(value), 0x7F, 0) + value


_cached = lru_cache(maxsize=256)(_encode)


def _write_integer(value: int, mask: int, flags: int) -> bytes:
    if value < mask:
        return bytes((flags | value,))
    out, value = bytearray((flags | mask,)), value - mask
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


class HeadWriter:
    """Encodes response heads, and caches repeated ones for a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[object, ...] = ()
        self._block = b""

    def render(self, head: Head, response: Response) -> bytes:
        """The header block of a response."""
        length = None if response.trailers else content_length(head, response)
        key = (response.status, response.headers, length, self._clock.date())
        if key != self._last:
            fields = [field for field in response.headers if field[0] != b"Connection"]
            if length is not None:
                fields.append((b"content-length", b"%d" % length))
            self._block = encode(((b":status", b"%d" % response.status), *fields, (b"date", key[3])))
            self._last = key
        return self._block
