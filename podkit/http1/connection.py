"""A client's connection over HTTP/1.1: one request after the other, answered in the same order.

An answer of bytes is written at once, and those of pipelined requests together. Any other answer is under way
for a while, and what the client sends meanwhile is held back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import cast

from podkit.answer import call, log_answer, own_mistake, respond, too_busy
from podkit.budget import Share
from podkit.http1.kernel import has_hung_up, unread_bytes, unsent_bytes
from podkit.http1.reader import RequestReader
from podkit.http1.websocket import start_websocket
from podkit.http1.writer import LAST_CHUNK, closes, is_chunked, render_chunk, render_head
from podkit.message import (
    UNREADABLE,
    Abort,
    Answer,
    Block,
    Client,
    Delayed,
    HttpError,
    Request,
    Response,
    Upgrade,
    error,
)
from podkit.server import Server

SwitchToHttp2 = Callable[[Server, Client, asyncio.Transport, Request, bytes], None]


class Http1Connection(asyncio.Protocol):
    """`switch_to_http2` takes the connection over where a client asks for ``h2c``."""

    def __init__(self, server: Server, client: Client, switch_to_http2: SwitchToHttp2) -> None:
        self._server = server
        self._client = client
        self._switch_to_http2 = switch_to_http2
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(server, client)
        self._share = Share(server.budget)
        self._last_seen = 0.0
        self._held = bytearray()  # came, and is not worked on yet
        self._kept = 0  # bytes of the request whose answer is under way
        self._is_reading = True
        self._has_ended = False  # the client sends no more
        self._over = False  # the last answer is given: what still comes is passed over
        self._late: asyncio.TimerHandle | None = None  # an answer that is to be made
        self._sending: asyncio.Task[None] | None = None  # one whose body is on its way
        self._turn: asyncio.Handle | None = None  # when to go on, after the other connections
        self._drained: asyncio.Future[None] | None = None  # while the client does not take what is sent
        self._unsent, self._taken_at = 0, 0.0

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is ours."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # so that what the kernel does not take is charged
        self._last_seen = time.monotonic()
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or another protocol has its connection; what is under way is given up."""
        self._server.connections.discard(self)
        self._over = True
        for handle in (self._late, self._sending, self._turn, self._drained):
            if handle is not None:
                handle.cancel()
        self._held.clear()
        self._share.resize(0)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._last_seen = time.monotonic()
        if self._over:
            return
        if not self._held and not self._is_busy():
            return self._serve(data)
        self._held += data
        if self._is_busy():
            self._account()
        else:
            self._serve(self._held)

    def eof_received(self) -> bool:
        """The client sends no more, but may still read: what it asked for is answered."""
        self._has_ended = True
        if self._late is not None:
            self._leave_if_too_long(self._late)
        elif not self._over and not self._is_busy():
            self._serve(self._held)
        return True

    def pause_writing(self) -> None:
        """The client reads slower than it asks."""
        self._drained = self._loop.create_future()
        self._unsent, self._taken_at = 0, time.monotonic()
        self._account()

    def resume_writing(self) -> None:
        """The client has caught up."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._account()
        self._go_on()

    # requests

    def _is_busy(self) -> bool:
        return (
            self._late is not None
            or self._sending is not None
            or self._turn is not None
            or self._drained is not None
        )

    def _go_on(self) -> None:
        """Take up what was held back."""
        self._turn = None
        if not self._over and not self._is_busy():
            self._serve(self._held)

    def _serve(self, data: bytes | bytearray) -> None:
        """Answer what `data` asks for, as far as that can be done now, and hold back the rest."""
        server, reader, limits = self._server, self._reader, self._server.limits
        out: list[bytes] = []
        position = size = 0
        later: tuple[Request, Answer] | None = None
        while not self._over:
            if position >= len(data) and (reader.head is None or not self._has_ended):
                break
            if size >= limits.turn_bytes or len(out) >= limits.turn_requests:
                self._turn = self._loop.call_soon(self._go_on)
                break
            try:
                request = reader.next(data, position)
            except HttpError as problem:
                out.append(self._refuse(error(problem.status, problem.reason)))
                break
            step, position = reader.position - position, reader.position
            if request is None:
                if step >= limits.turn_input and position < len(data):
                    self._turn = self._loop.call_soon(self._go_on)
                    break
                request = reader.cut_off() if self._has_ended else None
            if request is None:
                break
            if request.head.upgrade == b"h2c" and self._client.tls is None:
                later = request, Response()
                break
            answer = call(server, request, reader.route)
            if type(answer) is not Response or type(answer.body) is not bytes:
                later = request, answer
                break
            out.append(
                self._render(request, answer, server.draining and position == len(data), self._last_seen)
            )
            size += len(out[-1])
        if reader.interim:
            out.append(reader.interim)
            reader.interim = b""
        if out:
            self._transport.write(b"".join(out))
        if data is self._held:
            del self._held[:position]
        elif position < len(data):
            self._held += memoryview(data)[position:]
        if later is not None:
            self._begin(*later)
        elif self._over:
            self._hang_up()
        elif self._has_ended and not self._is_busy():
            self._transport.close()
        if self._held or self._share.size or reader.head is not None or not self._is_reading:
            self._account()

    def _account(self) -> None:
        """Charge what is held for the client, and read on from it only where that is of use now."""
        size = len(self._held) + self._kept + self._reader.size
        if self._drained is not None:
            size += self._transport.get_write_buffer_size()
        if not self._share.resize(size):
            if self._over or self._is_busy():
                return self._transport.abort()
            self._transport.write(self._refuse(too_busy()))
            return self._hang_up()
        answers = self._late is not None or self._sending is not None
        has_room = not answers or len(self._held) <= self._server.limits.read_ahead
        reading = self._over or (self._turn is None and self._drained is None and has_room)
        if reading != self._is_reading and not self._transport.is_closing():
            self._is_reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # answers

    def _render(self, request: Request, response: Response, is_last: bool, start: float) -> bytes:
        """The head of an answer, and the body if it is at hand; the answer counts as given."""
        server = self._server
        self._over = is_last or self._reader.last or closes(request.head, response)
        head = render_head(request.head, response, self._over, server.clock.date_line())
        if server.access_log is not None:
            log_answer(server, request, response, start)
        body = response.body
        return head + body if isinstance(body, bytes) and request.head.method != b"HEAD" else head

    def _refuse(self, response: Response) -> bytes:
        """The answer to what can't be served, behind which the connection ends."""
        self._reader.last = True
        request = Request(self._reader.head or UNREADABLE, self._client, self._client.requests)
        return self._render(request, response, True, self._last_seen)

    def _begin(self, request: Request, answer: Answer) -> None:
        """Give an answer that takes time."""
        self._kept = len(request.body) + len(request.raw)
        if request.head.upgrade == b"h2c" and self._client.tls is None:
            self._upgrade_to_http2(request)
        elif isinstance(answer, Delayed):
            start = self._last_seen
            self._late = self._loop.call_later(answer.seconds, self._give_late, request, answer, start)
            self._leave_if_too_long(self._late)
        elif isinstance(answer, Upgrade):
            self._transport.resume_reading()
            early = bytes(self._held)
            self.connection_lost(None)
            start_websocket(self._server, self._client, self._transport, request, answer, early)
        elif isinstance(answer, Response):
            self._give(request, answer, self._last_seen)
        else:
            self._transport.abort()

    def _give_late(self, request: Request, delayed: Delayed, start: float) -> None:
        self._late = None
        response = respond(self._server, request, delayed)
        if isinstance(response, Abort):
            self._transport.abort()
        else:
            self._give(request, response, start)

    def _give(self, request: Request, response: Response, start: float) -> None:
        is_last = (self._server.draining or self._has_ended) and not self._held
        self._transport.write(self._render(request, response, is_last, start))
        if type(response.body) is bytes or request.head.method == b"HEAD":
            self._kept = 0
            self._after_answer()
        else:
            self._sending = self._loop.create_task(self._send_body(request, response))

    async def _send_body(self, request: Request, response: Response) -> None:
        """Send a body as it is made and as fast as the client takes it."""
        chunked, body = is_chunked(request.head, response), response.body
        try:
            if isinstance(body, AsyncIterator):
                async for block in body:
                    await self._send_block(block, chunked)
            else:
                for piece in cast("Iterable[Block]", body):
                    await self._send_block(piece, chunked)
        except Exception as mistake:
            own_mistake(request.head, self._client.remote_addr, mistake)
            return self._transport.abort()
        if chunked:
            self._transport.write(LAST_CHUNK)
        self._sending, self._kept = None, 0
        self._after_answer()

    async def _send_block(self, block: Block, chunked: bool) -> None:
        self._transport.write(render_chunk(block) if chunked else block)
        if self._drained is not None:
            await self._drained
        else:
            await asyncio.sleep(0)  # a fast reader must not keep the loop from the others

    def _after_answer(self) -> None:
        if self._over:
            self._hang_up()
        else:
            self._go_on()

    def _upgrade_to_http2(self, request: Request) -> None:
        early = bytes(self._held)
        try:
            self._switch_to_http2(self._server, self._client, self._transport, request, early)
        except ValueError as problem:
            self._transport.write(self._refuse(error(400, str(problem))))
            self._hang_up()
        else:
            self.connection_lost(None)

    # the end

    def _hang_up(self) -> None:
        """Close, but read on for a moment where more has come: unread bytes make the kernel reset it."""
        self._over = True
        transport, more = self._transport, bool(self._held) or self._reader.last
        self._held.clear()
        if not self._has_ended and (more or unread_bytes(transport)) and transport.can_write_eof():
            transport.write_eof()
            self._loop.call_later(self._server.limits.linger, transport.close)
            self._account()
        else:
            transport.close()

    def _leave_if_too_long(self, late: asyncio.TimerHandle) -> None:
        """A client that has ended may be gone for good: what takes long is not waited for."""
        if self._has_ended and late.when() - self._loop.time() > self._server.limits.half_closed:
            self._transport.abort()

    def check(self, now: float) -> None:
        """End what has stood still for too long."""
        limits, reader = self._server.limits, self._reader
        if self._drained is not None:
            unsent = unsent_bytes(self._transport)
            if not self._unsent or unsent < self._unsent:
                self._unsent, self._taken_at = unsent, now
            elif now - self._taken_at > limits.send_timeout:
                self._transport.abort()
        elif self._late is not None and not self._is_reading:
            self._has_ended = self._has_ended or has_hung_up(self._transport)
            self._leave_if_too_long(self._late)
        elif self._over or self._is_busy():
            return
        elif reader.began and now - reader.began > limits.head_timeout:
            self.time_out_head()
        elif reader.head is not None and now - self._last_seen > limits.body_timeout:
            self._time_out("the body takes too long")
        elif not reader.began and now - self._last_seen > limits.idle_timeout:
            self._transport.close()

    def time_out_head(self) -> None:
        """Give up on a head that has not ended, if there is one."""
        if not self._over:
            self._time_out("the request's head takes too long")

    def _time_out(self, reason: str) -> None:
        self._transport.write(self._refuse(error(408, reason)))
        self._hang_up()

    def say_goodbye(self) -> None:
        """The answers say so, by ``Connection: close``."""

    def close_if_quiet(self, now: float) -> None:
        """Close now if no request is under way or has just been sent."""
        idle = not (self._over or self._is_busy() or self._held or self._reader.head)
        if idle and now - self._last_seen > self._server.limits.quiet and not unread_bytes(self._transport):
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
