"""Request targets and queries, parsed and written like Go's ``net/url``, on bytes."""

import re
from posixpath import normpath
from typing import Final, NamedTuple

from podkit.go.host import parse_authority
from podkit.go.percent import unescape
from podkit.go.strconv import parse_bool

_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*:")
_CONTROLS: Final = bytes((*range(0x20), 0x7F))
# the characters that Go's Path does not escape, and those it accepts raw from a client
_KEPT: Final = re.compile(rb"[A-Za-z0-9\-_.~$&+,/:;=@]")
_UNTOUCHED: Final = re.compile(rb"[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]%]*")
_UNCLEAN: Final = re.compile(rb"//|/\.\.?(?:/|\Z)")
_HTML: Final = ((b"&", b"&amp;"), (b"<", b"&lt;"), (b">", b"&gt;"), (b'"', b"&#34;"), (b"'", b"&#39;"))
_PIECE: Final = 1 << 16  # bytes to replace at once, which takes several times their space
_MAX_PAIRS: Final = 10_000  # of a query; Go ignores longer queries


def _tables(replacements: list[str]) -> list[bytes]:
    """For `_replace`: tables of the first, second and third characters; NUL where there is none."""
    return [
        bytes(map(ord, place)) for place in zip(*[text.ljust(3, "\0") for text in replacements], strict=True)
    ]


_ESCAPES: Final = _tables([chr(byte) if _KEPT.match(bytes((byte,))) else f"%{byte:02X}" for byte in range(256)])
_REDIRECTED: Final = _tables([chr(byte) if byte < 0x80 else f"%{byte:02x}" for byte in range(256)])


class Target(NamedTuple):
    """A request target: the escaped path, the raw query, and the host, if any.

    The path is empty if the target has none, as in ``mailto:someone`` or CONNECT's ``host:port``.
    """

    path: bytes
    query: bytes
    host: bytes
    request_uri: bytes  # path and query as the original writes them


def escape_path(path: bytes) -> bytes:
    """A path as from ``URL.EscapedPath``: unchanged if validly encoded, otherwise escaped again."""
    plain = unescape(path)
    if _UNTOUCHED.fullmatch(path):
        return path
    return _replace(plain, _ESCAPES)


def _replace(text: bytes, tables: list[bytes]) -> bytes:
    """Replaces each byte by what `tables` have for it, at C speed."""
    pieces = []
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        replaced = bytearray(len(tables) * len(piece))
        for place, table in enumerate(tables):
            replaced[place :: len(tables)] = piece.translate(table)
        pieces.append(replaced.translate(None, b"\0"))
    return b"".join(pieces)


def parse_target(method: bytes, text: bytes) -> Target:
    """Parses the target of a request line, in origin, absolute, asterisk or authority form.

    Raises ValueError where Go's ``url.ParseRequestURI`` fails.
    """
    if text.translate(None, _CONTROLS) != text:
        raise ValueError("invalid control character in URL")
    if text == b"*":
        return Target(b"*", b"", b"", b"*")
    if method == b"CONNECT" and not text.startswith(b"/"):
        text = b"http://" + text
    match = _SCHEME.match(text)
    scheme = match[0] if match else b""
    rest, mark, query = text[len(scheme) :].partition(b"?")
    if not rest.startswith(b"/"):
        if not scheme:
            raise ValueError("invalid URI for request")
        return Target(b"", query, b"", rest + mark + query)
    host = b""
    if scheme and rest.startswith(b"//"):
        authority, slash, after = rest[2:].partition(b"/")
        host, rest = parse_authority(authority), slash + after
    path = escape_path(rest)
    if method == b"CONNECT" and not path:
        return Target(b"", query, host, host)
    return Target(path, query, host, (path or b"/") + mark + query)


def clean_path(path: bytes) -> bytes:
    """Removes empty, ``.`` and ``..`` segments; keeps a trailing slash (``ServeMux``)."""
    if not path.startswith(b"/"):
        path = b"/" + path
    if not _UNCLEAN.search(path):
        return path
    cleaned = normpath(b"/" + path.lstrip(b"/"))  # to POSIX, two slashes mean more than one
    return cleaned + b"/" if path.endswith(b"/") and cleaned != b"/" else cleaned


def escape_non_ascii(url: bytes) -> bytes:
    """A URL as in Go's redirects: bytes above ASCII become ``%xx``, the rest is unchanged."""
    return url if url.isascii() else _replace(url, _REDIRECTED)


def escape_html(text: bytes) -> bytes:
    """Escapes a text like Go's ``html.EscapeString``."""
    for letter, escaped in _HTML:
        text = text.replace(letter, escaped)
    return text


def parse_query(query: bytes) -> dict[str, str]:
    """The first value of each name; drops pairs with a bad escape or a semicolon, as Go does.

    A query of over 10,000 pairs is dropped completely, as in Go.
    """
    values: dict[str, str] = {}
    if not query or query.count(b"&") >= _MAX_PAIRS:
        return values
    for pair in query.split(b"&"):
        if not pair or b";" in pair:
            continue
        name, _, value = pair.partition(b"=")
        try:
            key = unescape(name.replace(b"+", b" ")).decode("utf-8", "surrogateescape")
            text = unescape(value.replace(b"+", b" ")).decode("utf-8", "surrogateescape")
        except ValueError:
            continue
        values.setdefault(key, text)
    return values


def is_on(query: dict[str, str], name: str) -> bool:
    """Whether a query's value is a true boolean word."""
    try:
        return parse_bool(query.get(name, ""))
    except ValueError:
        return False
