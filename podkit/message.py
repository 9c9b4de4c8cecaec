"""The interface between transports and endpoints."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

Headers = Mapping[bytes, list[bytes]]
Fields = tuple[tuple[bytes, bytes], ...]
NO_HEADERS: Headers = MappingProxyType({})
FIELD_COST = 192  # bytes of a header field in CPython, in addition to its name and value
_KNOWN_TO_HEAD = {1: 2048, 2: 4096}  # bytes of an answer that the original buffers, by HTTP version
CLOSE = (b"Connection", b"close")  # makes an answer the last one on its connection
_WITHOUT_ADDRESS = ("LOCAL", "UNKNOWN", "UNIX")  # PROXY headers without an address and port
PLAIN_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


class HttpError(Exception):
    """Refuses a request with `status` and a line for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Head(NamedTuple):
    """A request head, parsed by Go's rules. All texts are the bytes from the wire."""

    method: bytes
    path: bytes  # escaped; empty for CONNECT's authority form
    query: bytes  # raw
    request_uri: bytes  # path and query as the original writes them
    host: bytes
    version: tuple[int, int]
    headers: Headers  # canonical names; without Host, Transfer-Encoding, and Trailer if chunked
    close: bool  # the client asked to close the connection
    length: int  # of the body in bytes; -1 for chunked
    trailer_names: tuple[bytes, ...]
    upgrade: bytes  # the requested protocol: ``websocket``, ``h2c`` or empty

    def header(self, name: bytes) -> bytes:
        """The first value of a header, by its canonical name; empty if there is none."""
        values = self.headers.get(name)
        return values[0] if values else b""

    @property
    def size(self) -> int:
        """Approximately the memory it takes, in bytes."""
        names = sum(map(len, self.headers))
        values = sum(FIELD_COST + len(value) for values in self.headers.values() for value in values)
        return names + values + 2 * len(self.request_uri) + len(self.host)


# replaces a head that could not be parsed, in the log and for endpoints that answer with an error
UNREADABLE = Head(b"-", b"/", b"", b"-", b"", (1, 1), {}, True, 0, (), b"")


class Tls(NamedTuple):
    """The result of a TLS handshake."""

    version: str  # TLSv1.3
    cipher: str  # by its IANA name
    alpn: str  # empty if none was negotiated
    server_name: str  # requested by the client (SNI)
    subjects: tuple[str, ...]  # of the client's certificates, its own first, as text
    certificates: tuple[bytes, ...]  # the same in DER


class ProxiedTls(NamedTuple):
    """What a PROXY header says about the TLS connection that its sender terminated."""

    version: str  # TLSv1.3
    cipher: str
    common_name: str  # of the client's certificate
    is_verified: bool  # verified by the sender


class Announced(NamedTuple):
    """The content of a PROXY header. Its sender is the connection's peer."""

    version: int  # 1 or 2
    family: str  # TCP4, TCP6, UDP4, UDP6, UNIX, UNKNOWN or LOCAL
    source: str = ""  # address:port as from `render_address`, or a socket's path
    destination: str = ""
    alpn: str = ""
    authority: str = ""  # requested by the client (SNI)
    tls: ProxiedTls | None = None


class Client:
    """A client's connection, as endpoints see it."""

    __slots__ = ("announced", "id", "opened", "peer", "remote_addr", "requests", "tls")

    def __init__(self, id: str, peer: str, opened: float, tls: Tls | None = None) -> None:
        self.id = id  # unique across the server's processes
        self.peer = peer  # address:port of the socket, IPv6 in brackets
        self.remote_addr = peer  # the same, unless a PROXY header announces another
        self.opened = opened  # seconds of the monotonic clock
        self.requests = 0  # so far
        self.tls = tls
        self.announced: Announced | None = None  # the content of a PROXY header

    def announce(self, announced: Announced) -> None:
        """Makes the PROXY header's address the client's address."""
        self.announced = announced
        if announced.family not in _WITHOUT_ADDRESS:
            self.remote_addr = announced.source


class Request(NamedTuple):
    """A complete request: its head, its origin, and its body as far as it could be read."""

    head: Head
    client: Client
    number: int = 1  # this request's number on its connection
    body: bytes | bytearray = b""
    body_error: str = ""  # why the body ended early, in the original's words
    trailers: Headers = NO_HEADERS
    raw: bytes | bytearray = b""  # as received, if the route keeps that instead of the body

    @property
    def remote_addr(self) -> str:
        """The client's address:port, an IPv6 address in brackets."""
        return self.client.remote_addr

    @property
    def size(self) -> int:
        """Approximately the memory it takes, in bytes."""
        return self.head.size + len(self.body) + len(self.raw)


Block = bytes | bytearray | memoryview
Body = bytes | Iterable[Block] | AsyncIterator[bytes]


class Response(NamedTuple):
    """An answer. A body that is not bytes is streamed; `length` is its size in bytes, if known.

    With an empty body, `length` is what HEAD reports.
    """

    status: int = 200
    headers: Fields = ()
    body: Body = b""
    length: int | None = None
    trailers: Fields = ()  # HTTP/2 only
    is_kept: bool = False  # the endpoint returns this object repeatedly: what is rendered of it may be reused


class Delayed(NamedTuple):
    """An answer that is made after a delay, unless the client disconnects first."""

    seconds: float
    respond: Callable[[], "Response | Abort"]


class Abort(NamedTuple):
    """No answer: resets the connection or the HTTP/2 stream."""


class Upgrade(NamedTuple):
    """An answer that opens a WebSocket and responds to each message with one of the same kind."""

    reply: Callable[[bytes | bytearray], bytes | bytearray]


class Inflow(Protocol):
    """A request body while it arrives. Bytes that were not taken count against the client's window."""

    kept: int  # bytes of taken blocks that the consumer still holds; it sets this

    def blocks(self) -> AsyncIterator[bytes]:
        """Yields the blocks until the end. A block counts as taken when the next one is requested."""


class Dialogue(NamedTuple):
    """An HTTP/2 answer that is streamed while the request body is still arriving, as in gRPC streaming.

    `converse` receives the request body and yields the blocks of the answer, then the trailers.
    """

    headers: Fields
    converse: Callable[[Inflow], AsyncIterator[bytes | Fields]]
    farewell: Fields  # trailers if the server shuts down first


Answer = Response | Delayed | Abort | Upgrade | Dialogue
Endpoint = Callable[[Request], Answer]


def error(status: int, text: str, *headers: tuple[bytes, bytes]) -> Response:
    """A plain-text error as Go's ``http.Error`` writes it: the text and a newline."""
    sniffing = (b"X-Content-Type-Options", b"nosniff")
    return Response(status, (*headers, PLAIN_TEXT, sniffing), text.encode("utf-8", "surrogateescape") + b"\n")


def content_length(head: Head, response: Response) -> int | None:
    """The Content-Length to send; None if there is no body, or if the original does not know it.

    For HEAD, the original knows the length of what fits into its buffer, and what the endpoint sets.
    """
    status = response.status
    if status in (204, 304) or status < 200:
        return None
    if isinstance(response.body, bytes):
        if head.method == b"HEAD" and response.length is not None:
            return response.length
        length: int | None = len(response.body)
    else:
        length = response.length
    if head.method == b"HEAD" and not (length and length <= _KNOWN_TO_HEAD[head.version[0]]):
        return None
    return length


def render_address(peer: Any) -> str:
    """A socket's peer as ``address:port``; IPv6 in brackets, IPv4-mapped addresses as IPv4."""
    if not isinstance(peer, tuple):
        return ""
    host, port = str(peer[0]), peer[1]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
