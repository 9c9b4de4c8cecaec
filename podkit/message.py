"""What a transport hands to an endpoint, and what an endpoint hands back."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Headers = Mapping[bytes, list[bytes]]
_NO_HEADERS: Headers = MappingProxyType({})


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
    upgrade: bool  # asks for the WebSocket protocol

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
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | Iterable[bytes | memoryview] = b""
    length: int | None = None


class Upgrade(NamedTuple):
    """An answer that opens a WebSocket: `converse` gets it, and returns when it is done."""

    converse: Callable[[Any], Awaitable[None]]
    max_message: int  # bytes


Answer = Response | Upgrade | Awaitable[Response]
Endpoint = Callable[[Request], Answer]

PLAIN_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


def error(status: int, text: str, *headers: tuple[bytes, bytes]) -> Response:
    """A plain-text error as Go's ``http.Error`` writes it: the text and a newline."""
    sniffing = (b"X-Content-Type-Options", b"nosniff")
    return Response(status, (*headers, PLAIN_TEXT, sniffing), text.encode("utf-8", "surrogateescape") + b"\n")
