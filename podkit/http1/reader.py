"""Parses requests from a connection's bytes, however they are segmented."""

import re
import time
from typing import Final

from podkit.answer import max_body, too_large
from podkit.go.header import has_token
from podkit.http1.body import Body, body_of
from podkit.http1.head import check_lines, parse_head
from podkit.http1.writer import CONTINUE
from podkit.message import CLOSE, Client, Head, HttpError, Request, Response
from podkit.routes import Route
from podkit.server import Server

# a head is cached, in case it is repeated, if that fits the cost of a connection
_REMEMBERED = 1024  # bytes
_REMEMBERED_LINES = 18
# bytes that Go waits for before it reads the next request; after a POST it skips line ends in them
_PEEKED = 4

_END: Final = re.compile(rb"\n\r?\n")  # end of a head
_USUAL: Final = 2048  # bytes of a head that are searched without that, which is slower

_UNMET = Route(lambda request: Response(417, (CLOSE,)))  # an expectation that the original does not support


def _find_end(data: bytes | bytearray, start: int) -> tuple[int, int]:
    """The positions of a head's last line feed and after its empty line; -1 and the end if it is incomplete."""
    stop = start + _USUAL  # many more heads may follow
    end = data.find(b"\n\r\n", start, stop)
    bare = data.find(b"\n\n", start, end + 1 if end >= 0 else stop)
    if bare >= 0:
        return bare, bare + 2
    if end >= 0:
        return end, end + 3
    found = _END.search(data, start)
    return found.span() if found else (-1, len(data))


class RequestReader:
    """Reads one request after another, by the rules of Go's server.

    The caller keeps the bytes and calls `next` while there are any; `position` then marks the start of the
    unused ones.
    """

    __slots__ = (
        "_body", "_checked", "_client", "_follows_post", "_head_size", "_last_block", "_last_head",
        "_last_route", "_raw", "_searched", "_server", "began", "head", "interim", "last", "position", "route",
    )  # fmt: skip

    route: Route  # of the last request
    _body: Body

    def __init__(self, server: Server, client: Client) -> None:
        self._server = server
        self._client = client
        self._checked = 0  # bytes of an incomplete head whose lines are valid
        self._searched = 0  # bytes after the position that contain no end of a head
        self._follows_post = False
        # with its parsed form and its route
        self._last_block, self._last_head, self._last_route = server.last_head
        self.head: Head | None = None  # of the request whose body is arriving
        self._head_size = 0
        self._raw = bytearray()
        self.began = 0.0  # when an incomplete head began (monotonic); 0 if there is none
        self.position = 0
        self.interim = b""  # what the client waits for before it sends more
        self.last = False  # nothing can follow this request

    @property
    def size(self) -> int:
        """The bytes kept of the current request."""
        return 0 if self.head is None else self._head_size + len(self._body.data) + len(self._raw)

    @property
    def is_behind(self) -> bool:
        """Whether the rest of the data takes another call."""
        return self.head is not None and self._body.is_behind

    def next(self, data: bytes | bytearray, position: int) -> Request | None:
        """The next request, if it is complete. Raises HttpError if the connection ends with a refusal."""
        self.position = position
        if self.head is not None:
            return self._read_body(self.head, data)
        if self._follows_post and not self._skip_line_ends(data):
            return None
        start = self.position
        head = self._read_head(data)
        if head is None:
            return None
        self._follows_post = head.method == b"POST"
        client = self._client
        client.requests += 1
        route = self.route
        if head.length or b"Expect" in head.headers or route.keeps_raw:
            return self._begin_body(head, data, start)
        return Request(head, client, client.requests)

    def _skip_line_ends(self, data: bytes | bytearray) -> bool:
        seen = data[self.position : self.position + _PEEKED]
        if len(seen) < _PEEKED:
            return False
        self.position += _PEEKED - len(seen.lstrip(b"\r\n"))
        self._follows_post, self.began = False, time.monotonic()
        return True

    def _read_head(self, data: bytes | bytearray) -> Head | None:
        """A complete head; finds its route, too."""
        start, limits = self.position, self._server.limits
        if start == 0 and data == self._last_block and not self.began:
            self.position, self.route = len(data), self._last_route
            return self._last_head
        end, stop = _find_end(data, start + self._searched)
        if stop - start > limits.max_head:
            raise HttpError(431, "request head too large")
        # less than Go looks at may contain an empty line already
        if end < 0 or (len(data) - start < _PEEKED and self._client.requests):
            self._watch_head(data)
            return None
        block = bytes(data[start:stop])
        self.position = stop
        if self.began:
            self._searched, self._checked, self.began = 0, 0, 0.0
        if block == self._last_block:  # clients repeat themselves, on new connections too
            self.route = self._last_route
            return self._last_head
        head = parse_head(block[: end - start], limits.max_header_lines)
        self.route = route = self._server.find_route(head)
        if stop - start <= _REMEMBERED and block.count(b"\n") <= _REMEMBERED_LINES:
            self._last_block, self._last_head, self._last_route = self._server.last_head = block, head, route
        return head

    def _watch_head(self, data: bytes | bytearray) -> None:
        """Remembers how far an incomplete head was searched, and refuses what cannot become valid."""
        start = self.position
        if not self.began:
            if self._client.requests and len(data) - start < _PEEKED:
                return
            self.began = time.monotonic()
        end = data.rfind(b"\n", start + max(self._checked, self._searched))
        if end >= 0:
            check_lines(bytes(data[start + self._checked : end]), not self._checked)
            self._checked = end + 1 - start
        self._searched = max(0, len(data) - start - 2)

    def _begin_body(self, head: Head, data: bytes | bytearray, start: int) -> Request | None:
        limits, reads = self._server.limits, self.route.reads_body
        limit = max_body(limits, self.route)
        expectation = head.header(b"Expect")
        waits = has_token(expectation, b"100-continue") and head.version >= (1, 1) and head.length != 0
        if expectation and not has_token(expectation, b"100-continue"):
            self.route, self.last = _UNMET, True
            return self._request(head)
        if self.route.keeps_raw:
            self._raw += memoryview(data)[start : self.position]
        if reads and head.length > limit:
            raise too_large(limit)
        if not reads and (waits or head.close or head.length >= limits.max_skipped_body):
            self.last = True
            return self._request(head)
        if waits and self.position == len(data):
            self.interim = CONTINUE
        elif waits and self.route.answers_first:
            self.last = True  # the original does not read such a body, and says so
            return self._request(head, "http: invalid Read on closed Body")
        if not head.length:
            return self._request(head)
        self._head_size = head.size
        self.head, self._body = head, body_of(head.length, limits, reads and not self.route.keeps_raw)
        return self._read_body(head, data)

    def _read_body(self, head: Head, data: bytes | bytearray) -> Request | None:
        limits, body, start = self._server.limits, self._body, self.position
        reads = self.route.reads_body
        self.position = body.feed(data, start, limits.turn_input)
        if self.route.keeps_raw:
            self._raw += memoryview(data)[start : self.position]
        limit = max_body(limits, self.route)
        if reads and (body.size > limit or len(self._raw) > limit + limits.max_head):  # chunk lines count too
            raise too_large(limit)
        self.last = bool(body.error) or (not reads and body.size >= limits.max_skipped_body)
        return self._finish_body(head) if body.complete or self.last else None

    def cut_off(self, unused: int) -> Request | None:
        """The request whose body the client truncated, with `unused` bytes left.

        Raises HttpError within a head.
        """
        head = self.head
        if head is None:
            if self.began and unused:
                raise HttpError(400, "the request ends within its head")
            return None
        self.last = head.length < 0 or not self.route.reads_body
        self._body.end(unused)
        return self._finish_body(head)

    def _finish_body(self, head: Head) -> Request:
        body, self.head = self._body, None
        del self._body  # it may be large, and the connection idle for long
        if not self.route.reads_body:
            return self._request(head)
        return self._request(head)._replace(body=body.data, body_error=body.error, trailers=body.trailers)

    def _request(self, head: Head, body_error: str = "") -> Request:
        raw, self._raw = self._raw, bytearray()
        return Request(head, self._client, self._client.requests, b"", body_error, raw=raw)
