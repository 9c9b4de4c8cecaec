"""``/.answer``: faults on demand, to test retries, timeouts and circuit breakers.

Parameters use the grammar of fortio's echo server: one value, or several with their shares in percent
(``status=503:10,429:5``); the remaining requests get 200 immediately.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple

from podkit.go.duration import parse_duration
from podkit.go.percent import unescape
from podkit.go.strconv import parse_bool
from podkit.message import PLAIN_TEXT, Abort, Answer, Block, Delayed, Fields, Request, Response, error
from podkit.pod.pod import Pod
from whoami.data import pattern

_MAX_QUERY: Final = 8192  # bytes
_MAX_CHOICES: Final = 20  # per parameter
_MAX_HEADERS: Final = 10
_MAX_WAIT: Final = 300.0  # seconds
_MAX_SIZE: Final = 10 << 20  # bytes
_EMPTY: Final = (204, 205, 304)  # they have no body
_UNITS: Final = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20}
_SIZE: Final = re.compile(r"([0-9]{1,9})([A-Z]*)")
_SHARE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")
_HEADER: Final = re.compile(r"([A-Za-z0-9-]{1,64}): ?([\x21-\x7e][\x20-\x7e]{0,511})?")
_NAMES: Final = ("age", "cache-control", "etag", "expires", "last-modified", "retry-after", "vary")
# headers that control a proxy, and one that controls a browser
_CONTROLS: Final = ("x-accel-", "x-sendfile", "x-lighttpd-", "x-litespeed-", "x-reproxy-", "x-content-type-")
_ALLOWED: Final = (
    "allowed are status=503:10,429:5 (200 to 599), wait=200ms:50,2s:1 (up to 5m), size=1KB (up to 10MB), "
    "close=true:5, each with shares in percent, and header=Name:value with the name Age, Cache-Control, ETag, "
    "Expires, Last-Modified, Retry-After, Vary or X-..., except those that control a proxy"
)


class Choice(NamedTuple):
    """One value of a parameter, and the percentage of requests that get it."""

    value: Any
    text: str
    share: float

    def __str__(self) -> str:
        return self.text if self.share == 100 else f"{self.text} ({self.share:g} %)"


class Order(NamedTuple):
    """The parsed query."""

    choices: dict[str, list[Choice]]  # by parameter
    headers: Fields


class Faults:
    """The endpoint. `random` chooses the faults."""

    def __init__(self, pod: Pod, random: Random) -> None:
        self._pod = pod
        self._random = random

    def __call__(self, request: Request) -> Answer:
        """Answers with the chosen fault after the chosen delay; 400 with the allowed values for a bad query."""
        try:
            order = parse_order(request.head.query)
        except ValueError as problem:
            return error(400, f"{problem}: {_ALLOWED}")
        drawn = {name: self._draw(choices) for name, choices in order.choices.items()}
        wait, close = drawn["wait"], drawn["close"]
        respond: Callable[[], Response | Abort] = partial(self._respond, order.headers, drawn)
        if close.value:
            respond = Abort
        return Delayed(wait.value, respond) if wait.value else respond()

    def _draw(self, choices: list[Choice]) -> Choice:
        point = self._random.random() * 100
        for choice in choices:
            point -= choice.share
            if point < 0:
                return choice
        return choices[-1]

    def _respond(self, chosen: Fields, drawn: dict[str, Choice]) -> Response:
        status, wait, size = drawn["status"], drawn["wait"], drawn["size"]
        after = f" after {wait}" if wait.value else ""
        of = f", {size}" if size.text else ""
        line = f"{status}{after}{of} from {self._pod.hostname}\n".encode()
        headers = (PLAIN_TEXT, (b"X-Content-Type-Options", b"nosniff"), *chosen)
        if not any(name.lower() == b"cache-control" for name, _ in chosen):
            headers += ((b"Cache-Control", b"no-store"),)
        if status.value in _EMPTY:
            return Response(status.value, headers[2:])
        if not size.text:
            return Response(status.value, headers, line)
        return Response(status.value, headers, _fill(line, size.value), size.value)


def _fill(line: bytes, size: int) -> Iterator[Block]:
    """Pads the line with a pattern to `size` bytes."""
    yield line[:size]
    yield from pattern(0, size - len(line), size - len(line))


def parse_order(query: bytes) -> Order:
    """Parses a query. Raises ValueError with the reason."""
    if len(query) > _MAX_QUERY:
        raise ValueError("the query is too long")
    choices: dict[str, list[Choice]] = {}
    headers: Fields = ()
    for pair in filter(None, query.split(b"&")):
        name, _, text = (_decode(word) for word in pair.replace(b"+", b" ").partition(b"="))
        if name == "header":
            headers += (_parse_header(text),)
        elif name in _PARSERS and name not in choices:
            choices[name] = _parse_choices(name, text)
        else:
            raise ValueError(f"{name[:40]!a} is {'given twice' if name in choices else 'not a parameter'}")
    if len(headers) > _MAX_HEADERS:
        raise ValueError(f"there are more than {_MAX_HEADERS} headers")
    for name, (_, rest) in _PARSERS.items():
        given = choices.setdefault(name, [])
        left = 100 - sum(choice.share for choice in given)
        if left > 1e-9:
            given.append(rest._replace(share=left))
    return Order(choices, headers)


def _decode(word: bytes) -> str:
    return unescape(word).decode()  # raises ValueError for bad escapes and bad UTF-8


def _parse_choices(name: str, text: str) -> list[Choice]:
    words = text.split(",")
    if len(words) > _MAX_CHOICES:
        raise ValueError(f"{name} has more than {_MAX_CHOICES} values")
    found = [_parse_choice(name, word, is_alone=len(words) == 1) for word in words]
    if sum(choice.share for choice in found) > 100 + 1e-9:
        raise ValueError(f"the shares of {name} add up to more than 100 percent")
    return found


def _parse_choice(name: str, word: str, is_alone: bool) -> Choice:
    text, colon, share = word.partition(":")
    if not colon and not is_alone:
        raise ValueError(f"{name}={word[:40]!a} has no share")
    if colon and (not _SHARE.fullmatch(share) or float(share) > 100):
        raise ValueError(f"{name}={word[:40]!a} has a share outside 0 to 100")
    try:
        value = _PARSERS[name][0](text)
    except ValueError:
        raise ValueError(f"{name}={text[:40]!a} is not valid") from None
    return Choice(value, text, float(share) if colon else 100.0)


def _parse_status(text: str) -> int:
    if not re.fullmatch(r"[2-5][0-9]{2}", text):
        raise ValueError
    return int(text)


def _parse_wait(text: str) -> float:
    seconds = parse_duration(text)
    if not 0 <= seconds <= _MAX_WAIT:
        raise ValueError
    return seconds


def _parse_size(text: str) -> int:
    found = _SIZE.fullmatch(text.upper())
    if found is None or found[2] not in _UNITS:
        raise ValueError
    size = int(found[1]) * _UNITS[found[2]]
    if size > _MAX_SIZE:
        raise ValueError
    return size


def _parse_header(text: str) -> tuple[bytes, bytes]:
    found = _HEADER.fullmatch(text)
    if found is None:
        raise ValueError("a header is Name:value, with up to 512 printable ASCII characters")
    name = found[1].lower()
    if name not in _NAMES and (not name.startswith("x-") or name.startswith(_CONTROLS)):
        raise ValueError(f"the header {found[1]} is not allowed")
    return found[1].encode(), (found[2] or "").strip().encode()


# each parameter's parser, and the value for the remaining requests
_PARSERS: Final[dict[str, tuple[Callable[[str], Any], Choice]]] = {
    "status": (_parse_status, Choice(200, "200", 0)),
    "wait": (_parse_wait, Choice(0.0, "", 0)),
    "size": (_parse_size, Choice(0, "", 0)),
    "close": (parse_bool, Choice(False, "", 0)),
}
