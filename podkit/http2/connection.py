"""A route table served over HTTP/2 (RFC 9113), on the h2 library.

h2 keeps the protocol's state: frames, header compression, windows, which stream may do what. Here is what a
server does with its events: collect bodies, ask the endpoints, send answers as fast as the windows and
the client's reading allow, and bound what one connection may cost.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    UnknownFrameReceived,
)
from h2.exceptions import DenialOfServiceError, ProtocolError
from h2.settings import SettingCodes, Settings
from hpack.exceptions import HPACKError
from hyperframe.exceptions import HyperframeError

from podkit.http2.head import Malformed, parse_fields, parse_trailers
from podkit.http2.send_queue import LINGER, Outbox
from podkit.http2.stream import Inbox, Stream
from podkit.log import log_line
from podkit.message import (
    UNREADABLE,
    Abort,
    Client,
    Delayed,
    Dialogue,
    Head,
    HttpError,
    Request,
    Response,
    Upgrade,
    content_length,
    error,
)
from podkit.routes import Route
from podkit.server import Server

IDLE_TIMEOUT: Final = 75.0  # seconds without a stream
BODY_TIMEOUT: Final = 60.0  # seconds without a byte of a body, or without room for one of the answer's
CHECK_EVERY: Final = 5.0  # seconds between looks at these
QUIET: Final = 0.3  # seconds without a request before a draining server closes a connection
STREAMS: Final = 250  # at once
WINDOW: Final = 1 << 20  # bytes of a body that a client may send ahead, on a stream and in all
SLICE: Final = 1 << 14  # bytes to read before what they asked for is answered
ALLOWANCE: Final = 1000  # frames at once that ask for nothing but work: resets, pings, settings ...
REFILL: Final = 200.0  # of them a second; a request that is answered gives back one as well

_CONFIG: Final = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,  # `http2_head` does, by Go's rules
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
MAX_HEAD: Final = (1 << 20) + 4096
_SETTINGS: Final = {
    SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
    SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
}
_LACKS_BODY: Final = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PROPFIND", b"SEARCH"))
_GOODBYE: Final = b"goodbye!"  # a ping's payload
_REFUSED: Final = UNREADABLE._replace(version=(2, 0), close=False)
_NOWHERE: Final = Route(lambda request: error(400, "Bad Request"))


class Http2Connection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, server: Server, client: Client) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._client = client
        self._first: Request | None = None  # of an upgrade from HTTP/1.1
        self._h2 = H2Connection(_CONFIG)
        self._h2.local_settings = Settings(client=False, initial_values=_SETTINGS)
        self._h2.decoder.max_header_list_size = MAX_HEAD
        self._outbox = Outbox(self._h2, self._finish)
        self._streams: dict[int, Stream] = {}
        self._unread: dict[int, asyncio.TimerHandle] = {}  # streams that were answered before they ended
        self._buffered = 0  # bytes of bodies
        self._allowance = float(ALLOWANCE)
        self._last_seen = self._loop.time()
        self._last_id: int | None = None  # of the last stream to answer, once that is decided
        self._over = False  # nothing more is taken from the client
        self._timer: asyncio.TimerHandle | None = None

    # from the client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected, or HTTP/1.1 handed its connection over."""
        self._transport = cast(asyncio.Transport, transport)
        self._outbox.open(self._transport)
        self._server.connections.add(self)
        if not self._streams:
            self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW - self._h2.inbound_flow_control_window)
        self._timer = self._loop.call_later(CHECK_EVERY, self._check)
        if self._server.draining:
            self.say_goodbye()
        self._outbox.flush()
        if self._first is not None:
            self._answer(1, self._streams[1], self._first)
            self._outbox.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it whatever was in progress."""
        self._server.connections.discard(self)
        self._transport = None
        self._outbox.lose()
        if self._timer is not None:
            self._timer.cancel()
        for stream_id in [*self._unread, *self._streams]:
            self._forget_unread(stream_id)
            self._drop(stream_id)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        now = self._loop.time()
        self._allowance = min(ALLOWANCE, self._allowance + REFILL * (now - self._last_seen))
        self._last_seen = now
        for start in range(0, len(data), SLICE):
            if self._over:
                return
            try:
                events = self._h2.receive_data(data[start : start + SLICE])
                if self._h2.state_machine.state is ConnectionState.CLOSED:
                    # by a client's GOAWAY, which h2 takes for the end; streams under way go on (RFC 9113, 6.8)
                    self._h2.state_machine.state = ConnectionState.SERVER_OPEN
                for event in events:
                    handle = self._HANDLERS.get(type(event))
                    if handle is not None:
                        handle(self, event)
                if self._allowance < 0:
                    self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                    return self._end()
                self._outbox.pump()
            except ProtocolError as problem:  # h2 has written the GOAWAY that fits, but for one kind
                if isinstance(problem.__cause__, HPACKError) and not isinstance(problem, DenialOfServiceError):
                    self._h2.clear_outbound_data_buffer()
                    self._outbox.write_goaway(self._h2.highest_inbound_stream_id, ErrorCodes.COMPRESSION_ERROR)
                return self._end()
            except Exception as mistake:
                log_line(f"error: HTTP/2 from {self._client.remote_addr}: {mistake!r}")
                self._h2.close_connection(ErrorCodes.INTERNAL_ERROR)
                return self._end()

    def eof_received(self) -> bool:
        """The client has sent all; what is being sent to it still is."""
        for stream_id, stream in list(self._streams.items()):
            if stream_id not in self._outbox or not stream.ended:
                self._drop(stream_id)
        self._last_id = self._h2.highest_inbound_stream_id
        return bool(self._streams)

    def pause_writing(self) -> None:
        """The client reads slower than it asks: take no more from it."""
        self._outbox.pause()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._outbox.resume()

    def upgrade_from_http1(self, request: Request) -> None:
        """Begin with HTTP/1.1's request as stream 1 (RFC 7540, 3.2).

        Raises ValueError where its HTTP2-Settings are malformed.
        """
        settings = request.head.header(b"Http2-Settings")
        try:
            padded = settings + b"=" * (-len(settings) % 4)
            base64.b64decode(padded, altchars=b"-_", validate=True)
            self._h2.initiate_upgrade_connection(padded)
        except (ValueError, ProtocolError, HyperframeError) as problem:
            raise ValueError("malformed HTTP2-Settings") from problem
        route = self._server.find_route(request.head)
        self._streams[1] = Stream(request.head, route, True, self._loop.time())
        self._first = request

    # requests

    def _on_request(self, event: RequestReceived) -> None:
        stream_id, ended = event.stream_id, event.stream_ended is not None
        if self._last_id is not None and stream_id > self._last_id:
            return self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
        try:
            head, waits = parse_fields(event.headers, ended)
        except Malformed:
            return self._reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
        except HttpError as problem:
            stream = self._streams[stream_id] = Stream(_REFUSED, _NOWHERE, ended, self._last_seen)
            return self._respond(stream_id, stream, error(problem.status, problem.reason))
        calls = self._server.find_call
        is_call = calls is not None and head.header(b"Content-Type").startswith(b"application/grpc")
        route = calls(head) if calls is not None and is_call else self._server.find_route(head)
        stream = self._streams[stream_id] = Stream(head, route, ended, self._last_seen)
        if ended or not route.reads_body:
            request = Request(head, self._client)
            self._answer(stream_id, stream, request)
        elif head.length > self._server.limits.max_body:
            self._refuse_body(stream_id, stream)
        elif waits:
            self._h2.send_headers(stream_id, ((b":status", b"100"),))

    def _on_data(self, event: DataReceived) -> None:
        data, size = event.data, event.flow_controlled_length
        if not data and event.stream_ended is None:
            self._allowance -= 1
        stream = self._streams.get(event.stream_id)
        if stream is not None and stream.inbox is not None:
            return stream.inbox.put(data, size)
        self._h2.acknowledge_received_data(size, event.stream_id)
        if stream is None or not stream.route.reads_body:
            return
        stream.touched = self._last_seen
        stream.blocks.append(data)
        stream.size += len(data)
        self._buffered += len(data)
        if stream.size > self._server.limits.max_body or self._buffered > 2 * self._server.limits.max_body:
            self._refuse_body(event.stream_id, stream)

    def _acknowledge(self, stream_id: int, size: int) -> None:
        self._h2.acknowledge_received_data(size, stream_id)
        self._outbox.flush()

    def _on_trailers(self, event: TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None or not stream.route.reads_body:
            return
        try:
            stream.trailers = parse_trailers(event.headers, stream.head.trailer_names)
        except (Malformed, HttpError):
            self._drop(event.stream_id)
            self._reset(event.stream_id, ErrorCodes.PROTOCOL_ERROR)

    def _on_end(self, event: StreamEnded) -> None:
        self._forget_unread(event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.ended:
            return
        stream.ended = True
        if stream.inbox is not None:
            stream.inbox.end()
        elif stream.route.reads_body:
            head = stream.head
            if head.length < 0 and not stream.size and head.method in _LACKS_BODY:
                head = head._replace(length=0, trailer_names=())  # Go looks whether there is a body at all
            self._buffered -= stream.size
            request = Request(head, self._client, body=stream.take_body(), trailers=stream.trailers)
            self._answer(event.stream_id, stream, request)

    def _on_reset(self, event: StreamReset) -> None:
        self._allowance -= 1
        self._forget_unread(event.stream_id)
        self._drop(event.stream_id)

    def _on_ping_ack(self, event: PingAckReceived) -> None:
        if event.ping_data == _GOODBYE:
            self._decide_last()

    def _on_goaway(self, event: ConnectionTerminated) -> None:
        self._last_id = self._h2.highest_inbound_stream_id
        self._decide_last()

    def _on_burden(self, event: Event) -> None:
        self._allowance -= 1

    _HANDLERS: Final[dict[type[Event], Any]] = {
        RequestReceived: _on_request,
        DataReceived: _on_data,
        TrailersReceived: _on_trailers,
        StreamEnded: _on_end,
        StreamReset: _on_reset,
        PingAckReceived: _on_ping_ack,
        ConnectionTerminated: _on_goaway,
        PingReceived: _on_burden,
        PriorityUpdated: _on_burden,
        RemoteSettingsChanged: _on_burden,
        UnknownFrameReceived: _on_burden,
    }

    # answers

    def _answer(self, stream_id: int, stream: Stream, request: Request) -> None:
        try:
            answer = stream.route.endpoint(request)
        except Exception as mistake:
            return self._respond(stream_id, stream, self._own_mistake(stream, mistake))
        assert not isinstance(answer, Upgrade)  # WebSockets stay on HTTP/1.1: no head from here asks for one
        if isinstance(answer, Response):
            self._respond(stream_id, stream, answer)
        elif isinstance(answer, Dialogue) and self._server.draining:
            self._respond(stream_id, stream, Response(headers=answer.headers, trailers=answer.farewell))
        elif isinstance(answer, Dialogue):
            stream.inbox = Inbox(partial(self._acknowledge, stream_id))
            if stream.ended:
                stream.inbox.end()
            stream.task = asyncio.ensure_future(self._converse(stream_id, stream, stream.inbox, answer))
        elif isinstance(answer, Delayed):
            stream.task = asyncio.ensure_future(self._respond_later(stream_id, stream, answer))
        else:
            self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)

    async def _respond_later(self, stream_id: int, stream: Stream, answer: Delayed) -> None:
        await asyncio.sleep(answer.seconds)
        try:
            response = answer.respond()
        except Exception as mistake:
            response = self._own_mistake(stream, mistake)
        stream.task = None
        assert not isinstance(response, Abort)
        self._respond(stream_id, stream, response)
        self._outbox.pump()

    async def _converse(self, stream_id: int, stream: Stream, inbox: Inbox, answer: Dialogue) -> None:
        response = Response(headers=answer.headers)
        self._h2.send_headers(stream_id, self._render_fields(stream.head, response, None))
        self._outbox.flush()
        try:
            async for piece in answer.converse(inbox.blocks()):
                if isinstance(piece, bytes):
                    stream.sent = self._loop.create_future()
                    self._outbox.put(stream_id, stream, (piece,), len(piece))
                    self._outbox.pump()
                    await stream.sent
                else:
                    self._log(stream, response)
                    self._h2.send_headers(stream_id, piece, end_stream=True)
        except asyncio.CancelledError:
            if not self._server.draining or self._transport is None or stream_id not in self._streams:
                raise
            self._h2.send_headers(stream_id, answer.farewell, end_stream=True)
        except Exception as mistake:
            self._own_mistake(stream, mistake)
            self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
        stream.task = None
        self._finish(stream_id, stream)
        self._outbox.flush()

    def _own_mistake(self, stream: Stream, mistake: Exception) -> Response:
        log_line(f"error: {stream.head.request_uri[:200]!r} of {self._client.remote_addr}: {mistake!r}")
        return error(500, "Internal Server Error")

    def _refuse_body(self, stream_id: int, stream: Stream) -> None:
        self._buffered -= stream.size
        stream.take_body()
        stream.route = _NOWHERE  # the rest of it is not kept
        self._respond(
            stream_id, stream, error(413, f"the body is larger than {self._server.limits.max_body} bytes")
        )

    def _respond(self, stream_id: int, stream: Stream, response: Response) -> None:
        head, body, trailers = stream.head, response.body, response.trailers
        length = len(body) if isinstance(body, bytes) else response.length or 0
        if head.method == b"HEAD" or response.status in (204, 304):
            length = 0
        fields = self._render_fields(head, response, None if trailers else content_length(head, response))
        try:
            self._h2.send_headers(stream_id, fields, end_stream=not length and not trailers)
        except ProtocolError:  # the stream was reset in the same breath
            return self._drop(stream_id)
        self._log(stream, response)
        stream.trailers_to_send = trailers
        if length:
            assert not isinstance(body, AsyncIterator)
            self._outbox.put(stream_id, stream, (body,) if isinstance(body, bytes) else body, length)
        else:
            self._outbox.complete(stream_id, stream)

    def _render_fields(self, head: Head, response: Response, length: int | None) -> list[tuple[bytes, bytes]]:
        fields = [(b":status", b"%d" % response.status)]
        fields += [(name.lower(), value) for name, value in response.headers if name != b"Connection"]
        if length is not None:
            fields.append((b"content-length", b"%d" % length))
        fields.append((b"date", self._server.clock.date()))
        return fields

    def _log(self, stream: Stream, response: Response) -> None:
        if self._server.access_log is not None:
            request = Request(stream.head, self._client)
            self._server.access_log.write(request, response, stream.start, self._loop.time())

    def _finish(self, stream_id: int, stream: Stream) -> None:
        self._drop(stream_id)
        self._allowance = min(ALLOWANCE, self._allowance + 1)
        if not stream.ended:  # the answer did not need the rest: some clients want to read it before the reset
            reset = self._loop.call_later(LINGER, self._reset, stream_id, ErrorCodes.NO_ERROR)
            self._unread[stream_id] = reset
        if self._last_id is not None:
            self._decide_last()

    def _drop(self, stream_id: int) -> None:
        self._outbox.drop(stream_id)
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._buffered -= stream.size
            if stream.inbox is not None and not self._over and self._transport is not None:
                stream.inbox.discard()
            if stream.task is not None:
                stream.task.cancel()

    def _forget_unread(self, stream_id: int) -> None:
        reset = self._unread.pop(stream_id, None)
        if reset is not None:
            reset.cancel()

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        self._forget_unread(stream_id)
        with suppress(ProtocolError):  # it is over already
            self._h2.reset_stream(stream_id, code)
            self._outbox.flush()

    # the end

    def say_goodbye(self) -> None:
        """Ask the client to open no more streams here; those that are on their way are answered.

        A dialogue may have no end of its own, so it gets its farewell.
        """
        for stream in self._streams.values():
            if stream.inbox is not None and stream.task is not None:
                self._loop.call_soon(stream.task.cancel)  # after it has begun
        self._last_seen = self._loop.time()
        self._outbox.write_goaway((1 << 31) - 1)
        self._h2.ping(_GOODBYE)  # its answer tells that the client knows
        self._outbox.flush()

    def check(self, now: float) -> None:
        """It has a timer of its own."""

    def close_if_quiet(self, now: float) -> None:
        """Close if nothing is under way and no request has just been sent."""
        if not self._streams and self._loop.time() - self._last_seen > QUIET:
            self._decide_last()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _decide_last(self) -> None:
        """Answer no stream after those that were opened by now, and close when none is left."""
        if self._over:
            return
        if not self._streams:
            self._h2.close_connection()
            return self._end()
        if self._last_id is None:
            self._last_id = self._h2.highest_inbound_stream_id
            self._outbox.write_goaway(self._last_id)

    def _end(self) -> None:
        """Nothing more is taken from the client, nor sent to it."""
        self._over = True
        self._outbox.close()
        for stream_id in list(self._streams):
            self._drop(stream_id)

    def _check(self) -> None:
        """End what has stood still for too long."""
        now = self._loop.time()
        self._timer = self._loop.call_later(CHECK_EVERY, self._check)
        if not self._streams and now - self._last_seen > IDLE_TIMEOUT:
            return self._decide_last()
        for stream_id, stream in list(self._streams.items()):
            if stream.task is not None or now - stream.touched <= BODY_TIMEOUT:
                continue
            if stream_id in self._outbox:
                self._drop(stream_id)
                self._reset(stream_id, ErrorCodes.CANCEL)
            else:
                self._respond(stream_id, stream, error(408, "the body takes too long"))
        self._outbox.flush()
