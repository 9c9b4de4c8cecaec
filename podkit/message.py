"""What passes between a transport and an endpoint."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

Headers = Mapping[bytes, list[bytes]]
Fields = tuple[tuple[bytes, bytes], ...]
NO_HEADERS: Headers = MappingProxyType({})
FIELD_COST = 192  # bytes that a header field takes in CPython beside its name and value
_KNOWN_TO_HEAD = 2048  # bytes of an answer that the original holds back until it is complete
CLOSE = (b"Connection", b"close")  # an answer with it is the last on its connection
_WITHOUT_ADDRESS = ("LOCAL", "UNKNOWN", "UNIX")  # PROXY headers that name none with a port
PLAIN_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


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

    @property
    def size(self) -> int:
        """About how many bytes it takes to keep it."""
        names = sum(map(len, self.headers))
        values = sum(FIELD_COST + len(value) for values in self.headers.values() for value in values)
        return names + values + 2 * len(self.request_uri) + len(self.host)


# stands for a head that could not be read, in the log and for endpoints that answer with an error
UNREADABLE = Head(b"-", b"/", b"", b"-", b"", (1, 1), {}, True, 0, (), b"")


class Tls(NamedTuple):
    """What a TLS handshake agreed on."""

    version: str  # TLSv1.3
    cipher: str  # by its IANA name
    alpn: str  # empty where none was agreed on
    server_name: str  # that the client asked for (SNI)
    subjects: tuple[str, ...]  # of the client's certificates, its own first, as text
    certificates: tuple[bytes, ...]  # the same in DER


class ProxiedTls(NamedTuple):
    """What a PROXY header says of the TLS connection that its sender has ended."""

    version: str  # TLSv1.3
    cipher: str
    common_name: str  # of the client's certificate
    is_verified: bool  # the sender has verified that


class Announced(NamedTuple):
    """What a PROXY header says. Who sent it is the connection's peer."""

    version: int  # 1 or 2
    family: str  # TCP4, TCP6, UDP4, UDP6, UNIX, UNKNOWN or LOCAL
    source: str = ""  # address:port as `render_address` has it, or a socket's path
    destination: str = ""
    alpn: str = ""
    authority: str = ""  # that the client asked for (SNI)
    tls: ProxiedTls | None = None


class Client:
    """A client's connection, as endpoints see it."""

    __slots__ = ("announced", "id", "opened", "peer", "remote_addr", "requests", "tls")

    def __init__(self, id: str, peer: str, opened: float, tls: Tls | None = None) -> None:
        self.id = id  # unique among the server's processes
        self.peer = peer  # address:port of the socket, an IPv6 address in brackets
        self.remote_addr = peer  # the same, unless a PROXY header announces another
        self.opened = opened  # seconds of the monotonic clock
        self.requests = 0  # so far
        self.tls = tls
        self.announced: Announced | None = None  # what a PROXY header says

    def announce(self, announced: Announced) -> None:
        """A PROXY header has come, whose address is the client's from now on."""
        self.announced = announced
        if announced.family not in _WITHOUT_ADDRESS:
            self.remote_addr = announced.source


class Request(NamedTuple):
    """A whole request: its head, where it came from, and its body as it could be read."""

    head: Head
    client: Client
    number: int = 1  # of this request on its connection
    body: bytes | bytearray = b""
    body_error: str = ""  # why the body ended early, in the original's words
    trailers: Headers = NO_HEADERS
    raw: bytes | bytearray = b""  # as it came over the wire, where the route keeps that in place of the body

    @property
    def remote_addr(self) -> str:
        """The client's address:port, an IPv6 address in brackets."""
        return self.client.remote_addr

    @property
    def size(self) -> int:
        """About how many bytes it takes to keep it."""
        return self.head.size + len(self.body) + len(self.raw)


Block = bytes | bytearray | memoryview
Body = bytes | Iterable[Block] | AsyncIterator[bytes]


class Response(NamedTuple):
    """An answer. A body that is not bytes is sent as it is made; `length` says how many bytes, if known.

    Beside an empty body, `length` is what HEAD is told.
    """

    status: int = 200
    headers: Fields = ()
    body: Body = b""
    length: int | None = None
    trailers: Fields = ()  # over HTTP/2


class Delayed(NamedTuple):
    """An answer that is made after some time, unless the client leaves before."""

    seconds: float
    respond: Callable[[], "Response | Abort"]


class Abort(NamedTuple):
    """No answer: the connection, or the HTTP/2 stream, is reset."""


class Upgrade(NamedTuple):
    """An answer that opens a WebSocket, on which each message is answered by another of its kind."""

    reply: Callable[[bytes | bytearray], bytes | bytearray]
    max_message: int  # bytes


class Inflow(Protocol):
    """A request's body as it comes. What has come and is not taken counts against the client's window."""

    kept: int  # bytes of the blocks that were taken which their taker still holds; for the taker to say

    def blocks(self) -> AsyncIterator[bytes]:
        """What has come, up to the end. A block counts as taken when the next is asked for."""


class Dialogue(NamedTuple):
    """An answer over HTTP/2 that is given while the request still comes, as gRPC's streaming calls are.

    `converse` gets the request's body and yields the blocks of the answer's, and then the trailers.
    """

    headers: Fields
    converse: Callable[[Inflow], AsyncIterator[bytes | Fields]]
    farewell: Fields  # the trailers where the server leaves first


Answer = Response | Delayed | Abort | Upgrade | Dialogue
Endpoint = Callable[[Request], Answer]


def error(status: int, text: str, *headers: tuple[bytes, bytes]) -> Response:
    """A plain-text error as Go's ``http.Error`` writes it: the text and a newline."""
    sniffing = (b"X-Content-Type-Options", b"nosniff")
    return Response(status, (*headers, PLAIN_TEXT, sniffing), text.encode("utf-8", "surrogateescape") + b"\n")


def content_length(head: Head, response: Response) -> int | None:
    """The Content-Length to announce: none where there is no body, or where the original does not know it.

    For HEAD the original knows what fits into its buffer, and what the endpoint says.
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
    if head.method == b"HEAD" and not (length and length <= _KNOWN_TO_HEAD):
        return None
    return length


def render_address(peer: Any) -> str:
    """A socket's peer as ``address:port``; IPv6 in brackets, an IPv4 client of an IPv6 socket as IPv4."""
    if not isinstance(peer, tuple):
        return ""
    host, port = str(peer[0]), peer[1]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
