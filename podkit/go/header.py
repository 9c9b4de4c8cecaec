"""Header names and lists as Go's ``net/textproto`` and ``net/http`` read them."""

import re
from functools import lru_cache
from typing import Final

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
NOT_TRAILERS: Final = frozenset((b"Transfer-Encoding", b"Trailer", b"Content-Length"))
_CACHED_NAME: Final = 64  # longer header names are not worth remembering


def canonical(name: bytes) -> bytes:
    """A header name as Go writes it: ``x-real-ip`` is ``X-Real-Ip``. ValueError if it is not a token."""
    return _known(name) if len(name) <= _CACHED_NAME else _canonical(name)


def _canonical(name: bytes) -> bytes:
    if not TOKEN.fullmatch(name):
        raise ValueError("invalid header name")
    return b"-".join([part.capitalize() for part in name.split(b"-")])


_known = lru_cache(maxsize=1024)(_canonical)


def tokens(values: list[bytes] | None) -> list[bytes]:
    """The comma-separated elements of a header's values, in lower case."""
    return [token.strip(b" \t").lower() for value in values or () for token in value.split(b",")]


def trailer_names(values: list[bytes]) -> set[bytes]:
    """The canonical names that Trailer fields list; some of them may be in NOT_TRAILERS."""
    listed = (name.strip(b" \t") for value in values for name in value.split(b","))
    return {canonical(name) for name in listed if name}


def has_token(value: bytes, token: bytes) -> bool:
    """Whether a header's value lists the token, in any case, between commas and blanks (``hasToken``)."""
    return token in re.split(rb"[ ,\t]", value.lower())
