"""A route table served over HTTP/1.1 by aiohttp.

aiohttp's low-level server keeps the connections: queue, tasks, timeouts, back-pressure, WebSockets. Two
things are ours. The parser (`request_stream`), because the original answers requests that llhttp refuses.
And a short way for answers that wait for nothing, because a task and two futures cost more than such an
answer does. Both lean on attributes that aiohttp keeps private; `PRIVATE` names them, and a test fails
when aiohttp changes them; `plain` then serves instead.
"""

import asyncio
import fcntl
import struct
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import EMPTY_PAYLOAD, web

from podkit.go.header import tokens
from podkit.http1.exchange import Exchange, Reply, WebSocket
from podkit.http1.head import parse_head
from podkit.http1.request_stream import Body, RequestStream
from podkit.http1.writer import Clock, render_address, render_head
from podkit.log import AccessLog, say
from podkit.message import Answer, Dialogue, Head, HttpError, Request, Response, Upgrade, error
from podkit.routes import FindRoute

if TYPE_CHECKING:
    from podkit.http2.connection import Http2Connection

PRIVATE: Final = (
    "_buffer_paused",
    "_force_close",
    "_loop",
    "_message_tail",
    "_messages",
    "_next_keepalive_close_time",
    "_parser",
    "_paused",
    "_reading_paused",
    "_request_handler",
    "_waiter",
)

HEADER_TIMEOUT: Final = 10.0  # seconds for a head, from its first byte
IDLE_TIMEOUT: Final = 75.0  # seconds between requests
BODY_TIMEOUT: Final = 60.0  # seconds without a byte of a body
LINGER: Final = 1.0  # seconds to read on after a refusal, so that the client gets to see it
GONE_AFTER: Final = 1.0  # seconds that a waiting answer outlives the end of its client's bytes
QUIET: Final = 0.3  # seconds without a request before a draining server closes a connection
SHORT_WAY: Final = 1 << 16  # bytes of pipelined answers at once
HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REMEMBERED: Final = 4096  # bytes of a head that a connection keeps, in case it comes again

_END_OF_HEAD: Final = b"\r\n\r\n"


class Server(web.Server):
    """aiohttp's low-level server with our connections, and what they share."""

    def __init__(
        self,
        find_route: FindRoute,
        *,
        find_call: FindRoute | None = None,
        max_body: int,
        access_log: AccessLog | None = None,
    ) -> None:
        super().__init__(self._never, handler_cancellation=True)
        self.request_factory = Exchange  # type: ignore[assignment]  # gets our heads, not llhttp's
        self.find_route = find_route
        self.find_call = find_call  # the routes of gRPC, where it is served
        self.max_body = max_body
        self.access_log = access_log
        self.clock = Clock()
        self.draining = False
        self.websockets: set[web.WebSocketResponse] = set()
        self.http2: set[Http2Connection] = set()

    def __call__(self) -> "Connection":
        return Connection(self)

    async def _never(self, request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("each connection handles its own requests")

    async def drain(self, grace_period: float) -> None:
        """Let every request be answered, for at most `grace_period` seconds, and close all connections.

        A connection that has sent nothing for a moment is closed; any other after its next answer.
        """
        self.draining = True
        deadline = time.monotonic() + grace_period
        goodbyes = [
            asyncio.ensure_future(websocket.close(code=1001, message=b"server shutdown"))
            for websocket in self.websockets
        ]
        for client in self.http2:
            client.say_goodbye()
        while (self._connections or self.http2) and time.monotonic() < deadline:
            for connection in self.connections:
                if isinstance(connection, Connection):
                    connection.close_if_quiet()
            for client in list(self.http2):
                client.close_if_quiet()
            await asyncio.sleep(0.02)
        for goodbye in goodbyes:
            goodbye.cancel()
        for client in list(self.http2):
            client.abort()
        await self.shutdown(0.05)  # aiohttp takes 0 for no limit


class Connection(web.RequestHandler):
    """A client's connection."""

    __slots__ = (
        "_ended",
        "_header_timer",
        "_last_block",
        "_last_head",
        "_last_seen",
        "_opening",
        "_stream",
        "peer_subjects",
        "remote_addr",
        "responding",
        "server",
    )

    def __init__(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's way to say: no access log
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER,
        )
        self.server = server
        self.remote_addr = ""
        self.peer_subjects: tuple[str, ...] = ()
        self.responding = False
        self._ended = False  # the client sends no more
        self._header_timer: asyncio.TimerHandle | None = None
        self._last_seen = 0.0
        self._opening: bytes | None = b""  # the first bytes, until they tell the protocol
        self._last_block: bytes | None = None
        self._last_head: Head  # what that was read as
        self._stream = RequestStream(self, EMPTY_PAYLOAD, loop)
        self._parser = self._stream  # type: ignore[assignment]  # stands in for llhttp
        self._request_handler = self._handle

    # from the client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.remote_addr = render_address(transport.get_extra_info("peername"))
        self.peer_subjects = transport.get_extra_info("peer_subjects", ())
        self._last_seen = self._loop.time()
        super().connection_made(transport)
        if transport.get_extra_info("alpn_protocol") == b"h2":
            self._hand_over(self._build_http2())

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone; what is in progress for it is cancelled."""
        if self._header_timer is not None:
            self._header_timer.cancel()
        self._stream.feed_eof()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: answered at once where nothing has to be waited for."""
        self._last_seen = self._loop.time()
        if self._opening is not None:
            data = self._sniff(data)
            if not data:
                return
        if self._waiter is not None and not self._messages and self._stream.idle:
            data = self._answer_at_once(data)
            if not data:
                return
        super().data_received(data)
        self._watch_header()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for a bool
        """The client has sent all. It may still read: what it asked for is answered."""
        if self._opening:
            self._take_for_http1()
        self._ended = True
        self._stream.feed_eof()
        if self._force_close or (self._waiter is not None and not self._messages):
            return False  # closes the transport
        self._loop.call_later(GONE_AFTER, self._drop_if_waiting)
        return True

    def pause_writing(self) -> None:
        """The client reads slower than it asks: take no more requests from it."""
        super().pause_writing()
        self._pause_transport_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    # other protocols

    def _sniff(self, data: bytes) -> bytes:
        """The first bytes if they are HTTP/1.1's; none if they are HTTP/2's, or too few to tell."""
        opening = (self._opening or b"") + data
        if not HTTP2_PREFACE.startswith(opening[: len(HTTP2_PREFACE)]):
            self._opening = None
            return opening
        self._opening = opening
        if len(opening) >= len(HTTP2_PREFACE):
            http2 = self._build_http2()
            self._hand_over(http2)
            http2.data_received(opening)
        elif self._header_timer is None:
            self._header_timer = self._loop.call_later(HEADER_TIMEOUT, self._header_late)
        return b""

    def _take_for_http1(self) -> None:
        """Bytes that could have become HTTP/2's preface did not."""
        opening, self._opening = self._opening or b"", None
        super().data_received(opening)

    def _build_http2(self) -> "Http2Connection":
        from podkit.http2.connection import (
            Http2Connection,  # not before somebody speaks it: it takes time to load
        )

        return Http2Connection(self.server)

    def _hand_over(self, successor: "Http2Connection") -> None:
        """Let another protocol have the transport, and end as if the connection was lost."""
        transport, self.transport = self.transport, None
        assert transport is not None
        self.connection_lost(None)
        transport.set_protocol(successor)
        successor.connection_made(transport)

    def _is_encrypted(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("alpn_protocol") is not None

    async def _upgrade_to_http2(self, request: Request) -> None:
        """Go on in HTTP/2 with this request's answer. Raises HttpError for malformed settings."""
        http2 = self._build_http2()
        try:
            http2.take_over(request.head.header(b"Http2-Settings"), request)
        except ValueError as problem:
            raise HttpError(400, str(problem)) from None
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        early, self._message_tail = self._message_tail, b""
        self._hand_over(http2)
        http2.answer_first(request)
        http2.data_received(early)
        await asyncio.sleep(0)  # where the end of this connection cancels this

    # the short way

    def _answer_at_once(self, data: bytes) -> bytes:
        """Answer the requests at the start of `data` that can be; what is left is aiohttp's to handle."""
        server, transport = self.server, self.transport
        position, out, size, close = 0, [], 0, False
        while transport is not None and size < SHORT_WAY and not self._paused and not close:
            end = data.find(_END_OF_HEAD, position)
            if end < 0:
                break
            try:
                head = self._read_head(data[position:end])
            except HttpError:
                break
            if head.length or head.upgrade or b"Expect" in head.headers:
                break
            request = Request(head, self.remote_addr, peer_subjects=self.peer_subjects)
            try:
                response = server.find_route(head).endpoint(request)
            except Exception:  # the long way meets it again, and answers 500
                break
            if not isinstance(response, Response) or not isinstance(response.body, bytes):
                if asyncio.iscoroutine(response):
                    response.close()
                break
            position = end + 4
            close = self._closes(head, response) or (server.draining and position == len(data))
            start = render_head(head, response, close, server.clock.date_line())
            out.append(start if head.method == b"HEAD" else start + response.body)
            size += len(out[-1])
            if server.access_log is not None:
                server.access_log.write(request, response, self._last_seen, self._loop.time())
        if out and transport is not None:
            transport.write(b"".join(out))
            self._next_keepalive_close_time = self._last_seen + IDLE_TIMEOUT
            if close:
                self.force_close()
                return b""
        return data[position:] if position else data

    def _read_head(self, block: bytes) -> Head:
        """Read a head, unless it is the last one again: load, probes and pollers repeat themselves."""
        if block != self._last_block:
            head = parse_head(block)
            if len(block) > REMEMBERED:
                return head
            self._last_block, self._last_head = block, head
        return self._last_head

    # the long way

    async def _handle(self, exchange: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of aiohttp's queue."""
        assert isinstance(exchange, Exchange)
        start = self._loop.time()
        if exchange.refusal is not None:
            return self._refuse(exchange, exchange.refusal)
        head = exchange.head
        request = Request(head, self.remote_addr, peer_subjects=self.peer_subjects)
        try:
            expect = tokens(head.headers.get(b"Expect"))
            if head.version >= (1, 1) and expect not in ([], [b""], [b"100-continue"]):
                raise HttpError(417, "unknown expectation")
            route = self.server.find_route(head)
            if route.reads_body and head.length:
                request = await self._read_body(exchange, bool(expect))
            if head.upgrade == b"h2c" and (route.reads_body or not head.length) and not self._is_encrypted():
                await self._upgrade_to_http2(request)  # not where a body that nobody reads is in the way
            answer: Answer = route.endpoint(request)
            if isinstance(answer, Upgrade):
                return await self._upgrade(exchange, answer, request, start)
            assert not isinstance(answer, Dialogue)  # those are found by HTTP/2 alone
            response = answer if isinstance(answer, Response) else await answer
        except HttpError as problem:
            return self._refuse(exchange, problem)
        if self.server.access_log is not None:
            self.server.access_log.write(request, response, start, self._loop.time())
        unread = bool(expect) and not exchange.content.is_eof()
        return Reply(exchange, response, self._closes(head, response) or unread or bool(request.body_error))

    async def _read_body(self, exchange: Exchange, expects_continue: bool) -> Request:
        """The request with its body. Raises HttpError for one that is too large, too slow or malformed."""
        head, body = exchange.head, exchange.content
        assert isinstance(body, Body)
        if expects_continue and head.length <= self.server.max_body:
            if body.total_bytes:
                # the original never reads such a body, and says so in its answer
                error_text = "http: invalid Read on closed Body"
                return Request(head, self.remote_addr, body_error=error_text, peer_subjects=self.peer_subjects)
            await exchange.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        blocks, size = [], 0
        while not body.at_eof() and max(size, head.length) <= self.server.max_body:
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    blocks.append(await body.readany())
            except TimeoutError:
                raise HttpError(408, "the body takes too long") from None
            size += len(blocks[-1])
        if max(size, head.length) > self.server.max_body:
            raise HttpError(413, f"the body is larger than {self.server.max_body} bytes")
        if isinstance(body.error, HttpError):
            raise body.error
        whole, problem = b"".join(blocks), str(body.error or "")
        return Request(head, self.remote_addr, whole, problem, body.trailers, self.peer_subjects)

    async def _upgrade(
        self, exchange: Exchange, answer: Upgrade, request: Request, start: float
    ) -> web.StreamResponse:
        websocket = WebSocket(answer.max_message)
        self.server.websockets.add(websocket)
        try:
            with suppress(ConnectionError):  # the client may go at any time
                await websocket.prepare(exchange)
                await answer.converse(websocket)
                await websocket.close()
        finally:
            self.server.websockets.discard(websocket)
            if self.server.access_log is not None:
                self.server.access_log.write(request, Response(101), start, self._loop.time())
        return websocket

    def _refuse(self, exchange: Exchange, problem: HttpError) -> Reply:
        response = error(problem.status, problem.reason)
        if self.server.access_log is not None:
            request = Request(exchange.head, self.remote_addr)
            self.server.access_log.write(request, response, self._loop.time(), self._loop.time())
        exchange.refusal = problem
        return Reply(exchange, response, True)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A mistake of ours: one line in the log, nothing of it to the client."""
        assert isinstance(request, Exchange)
        say(f"error: {request.head.request_uri[:200]!r} of {self.remote_addr}: {exc!r}")
        if self.responding:
            raise ConnectionError("the response has begun")
        return Reply(request, error(500, "Internal Server Error"), True)

    # the end

    @property
    def is_last(self) -> bool:
        """No request is to follow: the client has ended, or the server is draining."""
        return (self._ended or self.server.draining) and not self._messages

    @staticmethod
    def _closes(head: Head, response: Response) -> bool:
        return head.close or (b"Connection", b"close") in response.headers

    def close_if_quiet(self) -> None:
        """Close now if no request is under way or has just been sent."""
        idle = self._waiter is not None and not self._messages and not self._unread()
        if idle and self._loop.time() - self._last_seen > QUIET:
            self.force_close()

    def _unread(self) -> bool:
        handle = self.transport.get_extra_info("socket") if self.transport is not None else None
        if handle is None:
            return False
        count: int = struct.unpack("i", fcntl.ioctl(handle.fileno(), termios.FIONREAD, bytes(4)))[0]
        return count > 0

    def linger(self) -> None:
        """End the connection, but read on for a moment: unread bytes would make the kernel reset it."""
        transport = self.transport
        self._force_close = True
        if transport is None:
            return
        if transport.can_write_eof() and not self._ended:
            transport.write_eof()
            self._resume_transport_reading()
            self._loop.call_later(LINGER, transport.close)
        else:
            transport.close()

    def _watch_header(self) -> None:
        if not self._stream.inside_head:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None
        elif self._header_timer is None:
            self._header_timer = self._loop.call_later(HEADER_TIMEOUT, self._header_late)

    def _header_late(self) -> None:
        self._header_timer = None
        if self._opening:
            self._take_for_http1()
            if not self._stream.inside_head:
                return
        late = self._stream.give_up(HttpError(408, "the request's head takes too long"))
        self._messages.extend(late)  # type: ignore[arg-type]  # our messages, as above
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _drop_if_waiting(self) -> None:
        """The client may be gone for good: an answer that has not begun by now is not waited for."""
        if self.transport is not None and not self.responding:
            self.transport.abort()
