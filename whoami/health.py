"""``/health``: a switch. POST sets the status that every other method then gets."""

import json
import mmap
import re

from podkit.message import Request, Response, error

_VALUES = {"t": ("true", "bool"), "f": ("false", "bool"), "n": ("null", "null")}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<rest>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_KINDS = {"{": "object", "[": "array", '"': "string"}


class Health:
    """The status that ``/health`` answers. Processes that were forked from this one share it."""

    def __init__(self) -> None:
        self._shared = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")
        self.status = 200

    @property
    def status(self) -> int:
        """An HTTP status."""
        return self._shared[0]

    @status.setter
    def status(self, status: int) -> None:
        self._shared[0] = status


def health(state: Health, request: Request) -> Response:
    """GET and others: an empty answer with the status. POST: set it to a JSON number from 200 to 599."""
    if request.head.method != b"POST":
        return Response(state.status)
    if request.body_error:
        return error(400, request.body_error)
    try:
        status = decode_int(request.body.decode("utf-8", "replace"))
    except ValueError as problem:
        return error(400, str(problem))
    if not 200 <= status <= 599:  # the original takes it, and answers nonsense or breaks
        return error(400, f"health status {status} is not from 200 to 599")
    state.status = status
    return Response()


def decode_int(text: str) -> int:
    """The first JSON value of `text` as an integer; ValueError in the words of Go's ``encoding/json``."""
    text = text.lstrip(" \t\r\n")
    if not text:
        raise ValueError("EOF")
    first = text[0]
    if first in _VALUES:
        word, kind = _VALUES[first]
        for position, letter in enumerate(word):
            if position >= len(text):
                raise ValueError("unexpected EOF")
            if text[position] != letter:
                found = _quote(text[position])
                raise ValueError(f"invalid character {found} in literal {word} (expecting {_quote(letter)})")
        if kind == "null":  # Go leaves the number as it was, zero: no status
            raise ValueError("json: cannot unmarshal null into Go value of type int")
        raise _wrong(kind)
    if first in _KINDS:
        try:
            json.JSONDecoder(strict=True).raw_decode(text)
        except json.JSONDecodeError as problem:
            if problem.pos >= len(text.rstrip()) or problem.msg.startswith("Unterminated"):
                raise ValueError("unexpected EOF") from None
            shown = _quote(text[problem.pos])
            raise ValueError(f"invalid character {shown} looking for beginning of value") from None
        except RecursionError:
            raise ValueError("exceeded max depth") from None
        raise _wrong(_KINDS[first])
    if first not in "-0123456789":
        raise ValueError(f"invalid character {_quote(first)} looking for beginning of value")
    number = _NUMBER.match(text)
    if number is None:
        if text == "-":
            raise ValueError("unexpected EOF")
        raise ValueError(f"invalid character {_quote(text[1])} in numeric literal")
    after = text[number.end() : number.end() + 1]
    if after and after in ".eE" and not number["rest"]:
        after = text[number.end() + 1 : number.end() + 2]
        if not after:
            raise ValueError("unexpected EOF")
        raise ValueError(f"invalid character {_quote(after)} after decimal point in numeric literal")
    if number["rest"] or len(number[0]) > 20 or not -(1 << 63) <= int(number[0]) < 1 << 63:
        raise _wrong(f"number {number[0]}")
    return int(number[0])


def _wrong(kind: str) -> ValueError:
    return ValueError(f"json: cannot unmarshal {kind} into Go value of type int")


def _quote(letter: str) -> str:
    return {"'": "'\\''", '"': "'\"'"}.get(letter) or f"'{letter}'"
