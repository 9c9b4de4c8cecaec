"""An HTTP/1.1 connection: answers one request after another, in order.

An answer that is bytes is written immediately, and the answers of pipelined requests together. Any other answer
is in progress for a while, and further input is held back meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from podkit.answer import call, too_busy
from podkit.http1.state import Http1State
from podkit.http1.websocket import WebSocketConnection
from podkit.message import Answer, Client, Delayed, HttpError, Request, Response, Upgrade, error
from podkit.server import Server
from podkit.turns import SHORT

SwitchToHttp2 = Callable[[Server, Client, asyncio.Transport, Request, bytes], None]


class Http1Connection(Http1State):
    """`switch_to_http2` takes over the connection if a client asks for ``h2c``."""

    def __init__(self, server: Server, client: Client, switch_to_http2: SwitchToHttp2) -> None:
        super().__init__(server, client)
        self._switch_to_http2 = switch_to_http2

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._last_seen = time.monotonic()
        answers, turns, size = self._answers, self._server.turns, len(data)
        if answers.is_over:
            return self._reading.rest(turns)
        is_busy = answers.is_busy or self._turn is not None
        if is_busy or (turns.is_full and size > SHORT):
            self._held += data
            if not is_busy:
                self._turn = turns.put_off(self._go_on)
            return self._account()
        before = self._client.requests
        most = 1 if turns.is_full else self._server.limits.turn_requests
        if self._held:
            self._held += data
            self._serve(self._held, most)
        else:
            self._serve(data, most)
        if size > SHORT or self._client.requests > before + 1:
            turns.spend(time.monotonic() - self._last_seen)

    def eof_received(self) -> bool:
        """The client has half-closed; its requests are still answered."""
        self._has_ended = True
        self._leave_if_too_long()
        if not self._answers.is_over and not self._is_busy():
            self._serve(self._held, self._server.limits.turn_requests)
        return True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._answers.resume()
        self._account()
        self._go_on()

    def _go_on(self) -> None:
        """Resumes processing of held input."""
        self._turn = None
        if not self._answers.is_over and not self._is_busy():
            self._serve(self._held, self._server.limits.turn_requests)

    def _serve(self, data: bytes | bytearray, most: int) -> None:
        """Answers up to `most` requests in `data`, as far as possible now, and holds back the rest."""
        server, reader, answers = self._server, self._reader, self._answers
        limits, position, end, size = server.limits, 0, len(data), 0
        out: list[bytes] = []
        later: tuple[Request, Answer | None] | None = None
        seen = self._last_seen
        while not answers.is_over and (position < end or (self._has_ended and reader.head is not None)):
            if size >= limits.turn_bytes or len(out) >= most:
                self._turn = server.turns.put_off(self._go_on)
                break
            try:
                request = reader.next(data, position)
                is_large = reader.position - position > limits.turn_bytes
                position = reader.position
                if request is None:
                    if reader.is_behind:
                        self._turn = server.turns.put_off(self._go_on)
                        break
                    request = reader.cut_off(end - position) if self._has_ended else None
                    if request is None:
                        break
            except HttpError as problem:
                out.append(self._refuse(error(problem.status, problem.reason)))
                break
            if is_large or request.head.upgrade == b"h2c":
                later = request, None  # reading it was work enough for a turn
                break
            answer = call(request, reader.route)
            if type(answer) is not Response or (
                type(answer.body) is not bytes and request.head.method != b"HEAD"
            ):
                later = request, answer
                break
            is_last = reader.last or (server.draining and position == end)
            out.append(answers.render(request, answer, is_last, seen, seen))
            size += len(out[-1])
        server.answered += len(out)
        if reader.interim:
            out.append(reader.interim)
            reader.interim = b""
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        if data is self._held:
            del self._held[:position]
        elif position < end:
            self._held += memoryview(data)[position:]
        if later is not None:
            self._begin(*later)
            if self._transport.get_protocol() is not self:  # it has been handed over
                return
        elif answers.is_over:
            self._hang_up()
        elif self._has_ended and not self._is_busy():
            self._transport.close()
        if self._held or self._share.size or answers.is_busy or reader.head or not self._reading.is_on:
            self._account()

    def _begin(self, request: Request, answer: Answer | None) -> None:
        """Starts an answer that takes time, or that switches the protocol."""
        if not self._share.resize(len(self._held) + request.size):
            return self._refuse_now(too_busy())
        if isinstance(answer, Delayed):
            self._answers.wait(request, answer, self._is_last, self._last_seen)
            self._leave_if_too_long()
        elif isinstance(answer, Upgrade):
            self._hand_over(WebSocketConnection(self._server, request, answer))
        elif isinstance(answer, Response):
            self._answers.give(request, answer, self._is_last(), self._last_seen)
        elif answer is None:
            self._answers.put_off(request, partial(self._answer, request))
        else:
            self._transport.abort()

    def _answer(self, request: Request) -> None:
        """Answers a request that had to wait for its turn."""
        if request.head.upgrade == b"h2c" and self._client.tls is None:
            return self._upgrade_to_http2(request)
        self._begin(request, call(request, self._reader.route))
        if self._transport.get_protocol() is self:
            self._account()

    def _hand_over(self, successor: asyncio.Protocol) -> None:
        early = bytes(self._held)
        self._reading.switch(True)
        self.connection_lost(None)
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)
        if early:
            successor.data_received(early)

    def _upgrade_to_http2(self, request: Request) -> None:
        self._reading.switch(True)
        try:
            self._switch_to_http2(self._server, self._client, self._transport, request, bytes(self._held))
            self.connection_lost(None)
        except ValueError as problem:
            self._refuse_now(error(400, str(problem)))
