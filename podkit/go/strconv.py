"""Texts to values and back, like Go's ``strconv``."""

import re
from typing import Final

_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_INT64: Final = 1 << 63
_NAMED: Final = dict(zip("\a\b\f\n\r\t\v\\", "abfnrtv\\", strict=True))  # ``\n`` and the like


def parse_bool(text: str) -> bool:
    """Parses a boolean word of ``strconv.ParseBool``; ValueError for any other."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{text!r} is not a boolean: use true or false")


def parse_int(text: str) -> int:
    """Parses a signed 64-bit decimal (``strconv.ParseInt``); ValueError for any other text."""
    # int() itself refuses texts of several thousand digits, which are never valid here
    if _INTEGER.fullmatch(text) and len(text) < 1000 and -_INT64 <= int(text) < _INT64:
        return int(text)
    raise ValueError(f"{text[:40]!r} is not a whole number of 64 bits")


def wrap_int64(value: int) -> int:
    """Wraps around at 64 bits, as Go's integers do."""
    return (value + _INT64) % (2 * _INT64) - _INT64


def quote(text: str, mark: str = '"') -> str:
    """The text between quotation marks, escaped as ``%q`` does it.

    Bytes that are no UTF-8 are lone surrogates in `text` (``surrogateescape``) and become ``\\xff``.
    """
    return mark + "".join([_escape(letter, mark) for letter in text]) + mark


def _escape(letter: str, mark: str) -> str:
    if letter == mark or letter in _NAMED:
        return "\\" + _NAMED.get(letter, letter)
    if letter.isprintable():
        return letter
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"
