"""What a transport hands to an endpoint, and what an endpoint hands back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Headers = Mapping[bytes, list[bytes]]
Fields = tuple[tuple[bytes, bytes], ...]
_NO_HEADERS: Headers = MappingProxyType({})


class HttpError(Exception):
    """A request that is refused: `status` and a line for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Head(NamedTuple):
    """The head of a request, read by Go's rules. All texts are the wire's bytes."""

    method: bytes
    path: bytes  # escaped; empty for CONNECT's authority form
    query: bytes  # raw
    request_uri: bytes  # path and query as the original writes them
    host: bytes
    version: tuple[int, int]
    headers: Headers  # canonical names; without Host, Transfer-Encoding and a chunked request's Trailer
    close: bool  # the client asked for the connection to end
    length: int  # of the body in bytes; -1 for chunked
    trailer_names: tuple[bytes, ...]
    upgrade: bytes  # the protocol it asks for: ``websocket``, ``h2c`` or none

    def header(self, name: bytes) -> bytes:
        """The first value of a header, by its canonical name; empty where there is none."""
        values = self.headers.get(name)
        return values[0] if values else b""


class Request(NamedTuple):
    """A whole request: its head, its body as it could be read, and where it came from."""

    head: Head
    remote_addr: str  # address:port, an IPv6 address in brackets
    body: bytes = b""
    body_error: str = ""  # why the body ended early, in the original's words
    trailers: Headers = _NO_HEADERS
    peer_subjects: tuple[str, ...] = ()  # of the client's certificates over TLS, its own first


class Response(NamedTuple):
    """An answer. A body that is not bytes is streamed, and `length` says how many bytes it yields."""

    status: int = 200
    headers: Fields = ()
    body: bytes | Iterable[bytes | memoryview] = b""
    length: int | None = None
    trailers: Fields = ()  # over HTTP/2


class Upgrade(NamedTuple):
    """An answer that opens a WebSocket: `converse` gets it, and returns when it is done."""

    converse: Callable[[Any], Awaitable[None]]
    max_message: int  # bytes


class Dialogue(NamedTuple):
    """An answer over HTTP/2 that is given while the request still comes, as gRPC's streaming calls are.

    `converse` gets the blocks of the request's body and yields those of the answer's, and then the trailers.
    """

    headers: Fields
    converse: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes | Fields]]
    farewell: Fields  # the trailers where the server leaves first


Answer = Response | Upgrade | Dialogue | Awaitable[Response]
Endpoint = Callable[[Request], Answer]

PLAIN_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


def error(status: int, text: str, *headers: tuple[bytes, bytes]) -> Response:
    """A plain-text error as Go's ``http.Error`` writes it: the text and a newline."""
    sniffing = (b"X-Content-Type-Options", b"nosniff")
    return Response(status, (*headers, PLAIN_TEXT, sniffing), text.encode("utf-8", "surrogateescape") + b"\n")
