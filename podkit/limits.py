"""All timeouts and sizes in one place: what a client can make the process hold, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are in bytes, times in seconds."""

    # memory of the process
    budget: int = 40 << 20  # everything held for clients: bodies, waiting answers, messages, partial heads
    connections: int = 56 << 20  # the connections themselves, at the costs below
    connection_cost: int = 5 << 10  # a plain connection
    tls_cost: int = 36 << 10  # in addition, with TLS
    http2_cost: int = 32 << 10  # in addition, with HTTP/2
    stream_cost: int = 6 << 10  # an HTTP/2 stream or WebSocket, charged to the budget

    # requests
    max_head: int = (1 << 20) + 4096  # a request line and headers; also trailers
    max_header_lines: int = 500  # per request, including Host, as in Go 1.27; also trailers
    max_body: int = 16 << 20  # to echo; --max-body
    max_handshake: int = 64 << 10  # a TLS handshake, including the client's certificates
    max_skipped_body: int = 256 << 10  # a body that the endpoint does not read, as in Go
    max_chunk_line: int = 4096  # a chunk's size line with its extensions
    read_ahead: int = 64 << 10  # buffered input while an answer is in progress
    max_unsent: int = 128 << 10  # taken by the kernel beyond a client's window; by default megabytes
    max_streams: int = 250  # concurrent, per HTTP/2 connection
    window: int = 1 << 20  # flow-control window of an HTTP/2 stream and connection
    max_message: int = 16 << 20  # a WebSocket message
    max_call_message: int = 4 << 20  # a gRPC message, decompressed

    # time
    head_timeout: float = 10.0  # to receive a head, from its first byte; also a TLS handshake or a PROXY header
    idle_timeout: float = 75.0  # between requests; --idle-timeout
    body_timeout: float = 60.0  # without progress while receiving a body
    send_timeout: float = 60.0  # without progress while sending an answer
    websocket_timeout: float = 300.0  # without a message or ping
    half_closed: float = 10.0  # to finish an answer after the client has half-closed
    linger: float = 1.0  # to keep reading after the last answer, so that the client receives it
    quiet: float = 0.3  # without a request before a draining server closes a connection
    check_interval: float = 1.0  # between two checks of these timeouts

    # turns: how much one connection may do before the others get their turn
    turn_time: float = 0.002  # seconds for all connections with deferred work, before sockets are polled again
    turn_requests: int = 64  # of one connection, like the next two
    turn_bytes: int = 64 << 10  # of answers that are ready
    turn_input: int = 16 << 10  # of chunks, frames and messages read
    turn_records: int = 64  # TLS records
    turn_handshakes: int = 8  # of all connections together
    flood_burst: int = 1000  # burst of HTTP/2 frames that only cause work
    flood_refill: float = 200.0  # tokens per second
