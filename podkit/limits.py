"""Every timeout and every size, in one place: what a client can make the process hold, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are in bytes, times in seconds."""

    # memory of the process
    budget: int = 40 << 20  # all that is held for clients: bodies, answers that wait, messages, partial heads
    connections: int = 56 << 20  # the connections themselves, each by the costs below
    connection_cost: int = 5 << 10  # a plain connection
    tls_cost: int = 36 << 10  # what TLS adds to it
    http2_cost: int = 32 << 10  # what HTTP/2 adds to it
    stream_cost: int = 6 << 10  # an HTTP/2 stream or a WebSocket, charged to the budget

    # requests
    max_head: int = (1 << 20) + 4096  # a request line and its headers; trailers too
    max_header_lines: int = 500  # of a request, Host among them, as Go 1.27 has it; of trailers too
    max_body: int = 16 << 20  # to echo; --max-body
    max_handshake: int = 64 << 10  # of TLS, with the certificates of the client
    max_skipped_body: int = 256 << 10  # of a request whose endpoint reads none, as Go has it
    max_chunk_line: int = 4096  # a chunk's size and its extensions
    read_ahead: int = 64 << 10  # while an answer is under way
    max_streams: int = 250  # of an HTTP/2 connection at once
    window: int = 1 << 20  # a body that an HTTP/2 client may send ahead, on a stream and in all
    max_message: int = 16 << 20  # of a WebSocket
    max_call_message: int = 4 << 20  # of a gRPC call, unpacked

    # time
    head_timeout: float = 10.0  # for a head, from its first byte; for a TLS handshake; for a PROXY header
    idle_timeout: float = 75.0  # between requests; --idle-timeout
    body_timeout: float = 60.0  # without a byte of an announced body
    send_timeout: float = 60.0  # without a byte of an answer taken
    websocket_timeout: float = 300.0  # without a message or a ping
    half_closed: float = 10.0  # that a client who has sent its end is waited with for its answers
    linger: float = 1.0  # to read on after the last answer, so that the client gets to see it
    quiet: float = 0.3  # without a request before a draining server closes a connection
    check_interval: float = 1.0  # between two looks at the times above

    # turns: what one connection may do before the others get theirs
    turn_time: float = 0.005  # seconds, for all connections that have more to do, before sockets are read again
    turn_requests: int = 64  # of one connection, as the next two
    turn_bytes: int = 64 << 10  # of answers that are at hand
    turn_input: int = 16 << 10  # of chunks, frames and messages read
    turn_records: int = 64  # of TLS
    turn_handshakes: int = 8  # of all connections together
    flood_burst: int = 1000  # HTTP/2 frames at once that ask for nothing but work
    flood_refill: float = 200.0  # of them a second
