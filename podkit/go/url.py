"""Request targets and queries, read and written as Go's ``net/url`` does, on bytes."""

import re
from typing import Final, NamedTuple

from podkit.go.strconv import parse_bool

_SCHEME: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*):")
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
# the characters that Go's Path keeps when it escapes, and those it leaves where a client sent them raw
_ESCAPED: Final = re.compile(rb"[^A-Za-z0-9\-_.~$&+,/:;=@]")
_UNTOUCHED: Final = re.compile(rb"[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]%]*")
_AUTHORITY: Final = re.compile(
    rb"(?:[A-Za-z0-9\-._:~!$&'()*+,;=%@]*@)?"
    rb"((?:\[[^\]]*\]|(?:[A-Za-z0-9\-_.~!$&'()*+,;=<>\"\x80-\xff]|%[89A-Fa-f][0-9A-Fa-f])*)(?::[0-9]*)?)"
)


class Target(NamedTuple):
    """A request target: the escaped path (empty for CONNECT), the raw query, the host if it named one."""

    path: bytes
    query: bytes
    host: bytes
    request_uri: bytes  # path and query as the original writes them


def unescape(text: bytes) -> bytes:
    """The text with each ``%XX`` replaced by its byte; ValueError for a lone percent sign."""
    if b"%" not in text:
        return text
    if _BAD_PERCENT.search(text):
        raise ValueError("invalid URL escape")
    return _PERCENT.sub(lambda match: bytes((int(match[1], 16),)), text)


def escape_path(path: bytes) -> bytes:
    """A path as ``URL.EscapedPath`` writes it: as it came if validly encoded, else escaped anew."""
    plain = unescape(path)
    if _UNTOUCHED.fullmatch(path) or path == b"*":
        return path
    return _ESCAPED.sub(lambda match: b"%%%02X" % ord(match[0]), plain)


def parse_target(method: bytes, text: bytes) -> Target:
    """The target of a request line, in origin, absolute, asterisk or authority form.

    Raises ValueError where Go's ``url.ParseRequestURI`` fails. Control characters are the caller's to refuse.
    """
    authority_form = method == b"CONNECT" and not text.startswith(b"/")
    if authority_form:
        text = b"http://" + text
    if text == b"*":
        return Target(b"*", b"", b"", b"*")
    scheme = b""
    if not text.startswith(b"/"):
        match = _SCHEME.match(text)
        if match is None:
            raise ValueError("invalid URI for request")
        scheme, text = match[1], text[match.end() :]
    rest, mark, query = text.partition(b"?")
    tail = mark + query
    if not rest.startswith(b"/"):  # an opaque target, such as mailto:someone
        return Target(b"/", query, b"", rest + tail)
    host = b""
    if scheme and rest.startswith(b"//"):
        authority, slash, after = rest[2:].partition(b"/")
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            raise ValueError("invalid host")
        host, rest = found[1], slash + after
    path = escape_path(rest)
    if authority_form and not path:
        return Target(b"", query, host, host)
    shown = path or b"/"
    if shown.startswith(b"//") and scheme:
        shown = scheme.lower() + b":" + shown
    return Target(path, query, host, shown + tail)


def clean_path(path: bytes) -> bytes:
    """The path without empty, ``.`` and ``..`` segments; a trailing slash stays (``ServeMux``'s rule)."""
    if not path.startswith(b"/"):
        path = b"/" + path
    if b"//" not in path and b"/." not in path:
        return path
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    cleaned = b"/" + b"/".join(kept)
    return cleaned + b"/" if path.endswith(b"/") and kept else cleaned


def parse_query(query: bytes) -> dict[str, str]:
    """The first value of each name; pairs with a bad escape or a semicolon are dropped, as Go drops them."""
    values: dict[str, str] = {}
    if not query:
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
    """Whether a query's value is a boolean word that says yes."""
    try:
        return parse_bool(query.get(name, ""))
    except ValueError:
        return False
