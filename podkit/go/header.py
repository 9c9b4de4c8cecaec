"""Header names and lists, parsed like Go's ``net/textproto`` and ``net/http``."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
NOT_TRAILERS: Final = frozenset((b"Transfer-Encoding", b"Trailer", b"Content-Length"))
_NEVER_TRAILERS: Final = re.compile(
    rb"If-.*|(?:Proxy-)?(?:Authorization|Connection)|(?:Proxy|Www)-Authenticate|Content-(?:Encoding|Length|Range|Type)"
    rb"|Cache-Control|Expect|Host|Keep-Alive|Max-Forwards|Pragma|Range|Realm|Te|Trailer|Transfer-Encoding"
)
# methods that usually have no body
LACKS_BODY: Final = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PROPFIND", b"SEARCH", b"CONNECT"))
_BAD_ELEMENT: Final = re.compile(rb"(?:^|,)(?![ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*(?:,|$))")
_CACHED_NAME: Final = 64
_LOOKED_AT: Final = 8192  # bytes of a header's lists that are searched for a token
_CASE: Final = ord("a") ^ ord("A")
_AFTER_DASH: Final = bytes(_CASE if byte == ord("-") else 0 for byte in range(256))
_LETTER: Final = bytes(_CASE if ord("a") <= byte <= ord("z") else 0 for byte in range(256))


def canonical(name: bytes) -> bytes:
    """A header name as Go writes it: ``x-real-ip`` is ``X-Real-Ip``. ValueError if it is not a token."""
    return _known_canonical(name) if len(name) <= _CACHED_NAME else _canonical(name)


def _canonical(name: bytes) -> bytes:
    if not TOKEN.fullmatch(name):
        raise ValueError("invalid header name")
    # flips the case of the letters that follow a dash; as numbers, since a name may have a million parts
    size, lower = len(name), name.lower()
    after_dash = int.from_bytes((b"-" + lower[:-1]).translate(_AFTER_DASH))
    letters = int.from_bytes(lower.translate(_LETTER))
    return (int.from_bytes(lower) ^ after_dash & letters).to_bytes(size)


# cached for names of up to _CACHED_NAME bytes
_known_canonical = lru_cache(maxsize=1024)(_canonical)


@lru_cache(maxsize=16)
def _element(token: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|,)[ \t]*%s[ \t]*(?:,|$)" % re.escape(token), re.IGNORECASE)


@lru_cache(maxsize=16)
def _word(token: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![^ \t,])%s(?![^ \t,])" % re.escape(token), re.IGNORECASE)


def _looked_at(values: list[bytes] | None) -> Iterator[bytes]:
    """The part of a header's lists that is searched."""
    left = _LOOKED_AT
    for value in values or ():
        if left <= 0:
            return
        yield value[:left]
        left -= len(value)


def has_element(values: list[bytes] | None, token: bytes) -> bool:
    """Whether one of a header's comma-separated lists contains the token (``HeaderValuesContainsToken``)."""
    return any(_element(token).search(value) for value in _looked_at(values))


def has_token(value: bytes, token: bytes) -> bool:
    """Whether the value contains the token, delimited by spaces or commas (``hasToken``)."""
    return _word(token).search(value, 0, _LOOKED_AT) is not None


def leads_to(values: list[bytes] | None, token: bytes) -> bool:
    """Like ``has_element``, but a list ends at the first element that is not a token (gorilla/websocket)."""
    for value in _looked_at(values):
        bad = _BAD_ELEMENT.search(value)
        if has_element([value[: bad.start()] if bad else value], token):
            return True
    return False


def is_trailer(name: bytes) -> bool:
    """Whether a trailer may have this canonical name (``ValidTrailerHeader``)."""
    return not _NEVER_TRAILERS.fullmatch(name)


def tokens(values: list[bytes] | None) -> list[bytes]:
    """The comma-separated elements of a header's values, in lower case."""
    return [token.strip(b" \t").lower() for value in values or () for token in value.split(b",")]


def trailer_names(values: list[bytes]) -> set[bytes]:
    """The names in Trailer fields: canonical if they are tokens, otherwise unchanged.

    Some of them may be in NOT_TRAILERS.
    """
    listed = {name.strip(b" \t") for name in b",".join(values).split(b",")}
    return {canonical(name) if TOKEN.fullmatch(name) else name for name in listed if name}
