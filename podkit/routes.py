"""The route table: from a request's path to its endpoint, by the rules of Go's ``ServeMux``."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from html import escape
from typing import Final, NamedTuple

from podkit.go.url import clean_path, unescape
from podkit.message import Endpoint, Head, Response, error

_NOT_ASCII: Final = re.compile(rb"[\x80-\xff]")


class Route(NamedTuple):
    """An endpoint, and what it wants of a request beside the head."""

    endpoint: Endpoint
    reads_body: bool = False
    max_body: int | None = None  # bytes; the server's limit where it is not set
    keeps_raw: bool = False  # the bytes as they came over the wire


FindRoute = Callable[[Head], Route]


class Routes:
    """A table of paths to routes. ``/`` also takes every path that has no route of its own.

    A path ``/name/`` takes all below it, and ``/name`` is sent there.
    """

    def __init__(self, table: Mapping[bytes, Route]) -> None:
        self._table = table
        self._fallback: Route = table[b"/"]
        self._cached: Callable[[bytes], Route | None] = lru_cache(maxsize=256)(self._find)

    def find(self, head: Head) -> Route:
        """The route of a request. Paths that are not clean get a redirect to the clean one."""
        path = head.path
        if len(path) > 64 or head.method in (b"OPTIONS", b"CONNECT"):
            return self._special(head) or self._find(path) or Route(lambda request: _redirect(request.head))
        return self._cached(path) or Route(lambda request: _redirect(request.head))

    def _special(self, head: Head) -> Route | None:
        if head.method == b"OPTIONS" and head.path == b"*":
            return Route(lambda request: Response())
        if head.method == b"CONNECT":
            if not head.path:
                return Route(lambda request: error(404, "404 page not found"))
            return self._route(head.path)
        return None

    def _find(self, path: bytes) -> Route | None:
        if path == b"*":
            return Route(lambda request: Response(400, ((b"Connection", b"close"),)))
        if clean_path(path) != path:
            return None
        first, slash, _ = path[1:].partition(b"/")
        if b"%2F" in first.upper():
            return self._fallback
        name = b"/" + unescape(first)
        if not slash and name + b"/" in self._table:
            return Route(lambda request: _redirect(request.head, b"/"))
        return self._route(name + slash)

    def _route(self, path: bytes) -> Route:
        found: Route = self._table.get(path, self._fallback)
        return found


def _redirect(head: Head, slash: bytes = b"") -> Response:
    location = clean_path(head.path) + slash + (b"?" + head.query if head.query else b"")
    location = _NOT_ASCII.sub(lambda match: b"%%%02x" % ord(match[0]), location)
    fields: tuple[tuple[bytes, bytes], ...] = ((b"Location", location),)
    body = b""
    if head.method in (b"GET", b"HEAD"):
        fields = ((b"Content-Type", b"text/html; charset=utf-8"), *fields)
    if head.method == b"GET":
        shown = escape(location.decode("latin-1")).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        body = b'<a href="%s">Temporary Redirect</a>.\n\n' % shown.encode("latin-1")
    return Response(307, fields, body)
