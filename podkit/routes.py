"""The route table maps a request's path to its endpoint, by the rules of Go's ``ServeMux``."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Final, NamedTuple

from podkit.go.percent import unescape
from podkit.go.url import clean_path, escape_html, escape_non_ascii
from podkit.message import CLOSE, Endpoint, Fields, Head, Request, Response, error

_CACHED_PATH: Final = 64  # longer paths are not cached


class Route(NamedTuple):
    """An endpoint, and what it needs besides the head."""

    endpoint: Endpoint
    reads_body: bool = False
    max_body: int | None = None  # bytes; None for the server's limit
    keeps_raw: bool = False  # wants the bytes as received instead of the body
    answers_first: bool = False  # starts its answer before it reads the body, in the original
    otherwise: "Route | None" = None  # for all methods except POST
    refusal: Callable[[Response], Response] | None = None  # converts an HTTP error for this route


FindRoute = Callable[[Head], Route]


class Routes:
    """A table of paths and routes. ``/`` also matches every path without a route.

    A path ``/name/`` matches everything below it, and ``/name`` redirects to it. The routes of `below` match
    the last segment of any path, with any prefix.
    """

    def __init__(self, table: Mapping[bytes, Route], below: Mapping[bytes, Route] | None = None) -> None:
        self._table = table
        self._below = below or {}
        self._fallback: Route = table[b"/"]
        self._longest = 3 * max(map(len, self.paths))  # bytes of a known name, even if each is escaped
        self._cached: Callable[[bytes], Route] = lru_cache(maxsize=256)(self._find)

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The paths of the table, and the last segments that match with any prefix."""
        return (*self._table, *self._below)

    def find(self, head: Head) -> Route:
        """The route of a request. Unclean paths get a redirect to the clean one."""
        path = head.path
        if path == b"*":
            return Route(_star)
        if head.method == b"CONNECT":
            route = (self._match(path) or _redirect_to(path + b"/")) if path else Route(_nowhere)
        else:
            route = self._cached(path) if len(path) <= _CACHED_PATH else self._find(path)
        return route if route.otherwise is None or head.method == b"POST" else route.otherwise

    def _find(self, path: bytes) -> Route:
        clean = clean_path(path)
        found = self._match(clean)
        if found is None:
            return _redirect_to(clean + b"/")
        return found if clean == path else _redirect_to(clean)

    def _match(self, path: bytes) -> Route | None:
        """The route of a clean path; None if the table has it only with a trailing slash."""
        if below := self._below.get(path[max(path.rfind(b"/") + 1, len(path) - self._longest) :]):
            return below
        first, slash, _ = path[1 : self._longest + 2].partition(b"/")
        if len(first) > self._longest:
            return self._fallback
        name = unescape(first)
        if b"/" in name:
            return self._fallback
        if not slash and b"/" + name + b"/" in self._table:
            return None
        found: Route = self._table.get(b"/" + name + slash, self._fallback)
        return found


def _star(request: Request) -> Response:
    """``*`` means the server as a whole; only OPTIONS may use it."""
    if request.head.method == b"OPTIONS":
        return Response()
    return Response(400, (CLOSE,) if request.head.version >= (1, 1) else ())


def _nowhere(request: Request) -> Response:
    """CONNECT to a host: there is no tunnel here."""
    return error(404, "404 page not found")


def _redirect_to(path: bytes) -> Route:
    return Route(partial(_redirect, path))


def _redirect(path: bytes, request: Request) -> Response:
    head = request.head
    location = path + (b"?" + head.query if head.query else b"")
    fields: Fields = ((b"Location", escape_non_ascii(location)),)
    body = b""
    if head.method in (b"GET", b"HEAD"):
        fields = ((b"Content-Type", b"text/html; charset=utf-8"), *fields)
    if head.method == b"GET":
        body = b'<a href="%s">Temporary Redirect</a>.\n\n' % escape_html(location)
    return Response(307, fields, body)
