"""An integer from JSON, with the errors of Go's ``encoding/json``, which clients see."""

import re
from typing import Final, NoReturn

from podkit.go.strconv import quote

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<rest>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_CUT_NUMBER: Final = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:(?:\.[0-9]+)?[eE][+-]?|\.)?)?")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')  # characters of a string
_HEX: Final = re.compile(r"[0-9A-Fa-f]{0,4}")
_WORDS: Final = {"t": ("true", "bool"), "f": ("false", "bool"), "n": ("null", "null")}
_KINDS: Final = {"{": "object", "[": "array", '"': "string"}
_INT64: Final = 1 << 63


def decode_int(data: bytes | bytearray) -> int:
    """The first JSON value of `data` as a 64-bit integer; the rest of the data is ignored.

    Raises ValueError, in Go's words, for malformed or truncated JSON and for other kinds of values.
    """
    text = data.decode("utf-8", "surrogateescape")
    position = _SPACE.match(text).end()  # type: ignore[union-attr]  # it matches anything
    if position == len(text):
        raise ValueError("EOF")
    end = _skip_value(text, position)
    first = text[position]
    if first in _KINDS:
        _mistake(_KINDS[first])
    if first in _WORDS:
        _mistake(_WORDS[first][1])
    number = text[position:end]
    if not number.lstrip("-").isdigit() or len(number) > 20 or not -_INT64 <= int(number) < _INT64:
        _mistake(f"number {number}")
    return int(number)


def _mistake(kind: str) -> NoReturn:
    raise ValueError(f"json: cannot unmarshal {kind} into Go value of type int")


def _invalid(text: str, position: int, where: str) -> NoReturn:
    if position >= len(text):
        raise ValueError("unexpected EOF")
    raise ValueError(f"invalid character {quote(text[position], chr(39))} {where}")


def _skip_value(text: str, position: int) -> int:
    """Returns the end of the value at `position`, without recursion."""
    open_brackets = ""
    while True:
        first = text[position : position + 1]
        if first and first in "[{":
            open_brackets += first
            position = _skip_space(text, position + 1)
            if text[position : position + 1] == _closing(first):
                position += 1
                open_brackets = open_brackets[:-1]
            elif first == "{":
                position = _skip_name(text, position)
                continue
            else:
                continue
        else:
            position = _skip_scalar(text, position)
        while open_brackets:
            position = _skip_space(text, position)
            following = text[position : position + 1]
            if following == _closing(open_brackets[-1]):
                open_brackets = open_brackets[:-1]
                position += 1
                continue
            is_object = open_brackets[-1] == "{"
            if following != ",":
                _invalid(text, position, "after object key:value pair" if is_object else "after array element")
            position = _skip_space(text, position + 1)
            if is_object:
                position = _skip_name(text, position)
            break
        else:
            return position


def _closing(bracket: str) -> str:
    return "}" if bracket == "{" else "]"


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _skip_name(text: str, position: int) -> int:
    if text[position : position + 1] != '"':
        _invalid(text, position, "looking for beginning of object key string")
    position = _skip_space(text, _skip_string(text, position))
    if text[position : position + 1] != ":":
        _invalid(text, position, "after object key")
    return _skip_space(text, position + 1)


def _skip_scalar(text: str, position: int) -> int:
    first = text[position : position + 1]
    if first == '"':
        return _skip_string(text, position)
    if first in _WORDS:
        word = _WORDS[first][0]
        for offset, letter in enumerate(word):
            if text[position + offset : position + offset + 1] != letter:
                _invalid(text, position + offset, f"in literal {word} (expecting {letter!r})")
        return position + len(word)
    if not first or first not in "-0123456789":
        _invalid(text, position, "looking for beginning of value")
    number, cut = _NUMBER.match(text, position), _CUT_NUMBER.match(text, position)
    end = number.end() if number else position
    if cut is not None and cut.end() > end:  # a number with an invalid ending
        _invalid(text, cut.end(), "in numeric literal")
    return end


def _skip_string(text: str, position: int) -> int:
    position += 1
    while True:
        position = _PLAIN.match(text, position).end()  # type: ignore[union-attr]  # it matches anything
        letter, after = text[position : position + 1], text[position + 1 : position + 2]
        if letter == '"':
            return position + 1
        if letter != "\\" or not after:
            _invalid(text, position if letter != "\\" else len(text), "in string")
        if after == "u":
            digits = _HEX.match(text, position + 2).end() - position - 2  # type: ignore[union-attr]
            if digits < 4:
                if position + 2 + digits == len(text):
                    _invalid(text, len(text), "in string")
                _refuse_escape(text[position:], 6)
            position += 6
        elif after in '"\\/bfnrt':
            position += 2
        else:
            _refuse_escape(text[position:], 2)


def _refuse_escape(text: str, length: int) -> NoReturn:
    sequence = text.encode("utf-8", "surrogateescape")[:length].decode("utf-8", "surrogateescape")
    is_plain = sequence.isprintable() and " " not in sequence and "`" not in sequence
    shown = f"`{sequence}`" if is_plain else quote(sequence)
    raise ValueError(f"invalid escape sequence {shown} in string")
