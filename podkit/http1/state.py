"""The state of an HTTP/1.1 connection: held bytes, timeouts, and closing."""

import asyncio
import time
from typing import cast

from podkit.answer import too_busy
from podkit.budget import Share
from podkit.connections import Connection
from podkit.flow import Reading
from podkit.http1.answers import Answers
from podkit.http1.reader import RequestReader
from podkit.kernel import end_output, has_hung_up, unread_bytes
from podkit.message import UNREADABLE, Client, Request, Response, error
from podkit.server import Server
from podkit.turns import Turn


class Http1State(Connection):
    """The state of a connection. `Http1Connection` processes its requests."""

    def __init__(self, server: Server, client: Client) -> None:
        self._server = server
        self._client = client
        self._reader = RequestReader(server, client)
        self._share = Share(server.budget)
        self._last_seen = 0.0
        self._held = bytearray()  # received, but not processed yet
        self._has_ended = False  # the client has half-closed
        self._turn: Turn | None = None  # resumes after the other connections' turns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes over the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._reading = Reading(self._transport)
        self._answers = Answers(self._server, self._transport, self._after_answer)
        self._last_seen = time.monotonic()
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or another protocol took over; cancels what is in progress."""
        self._server.connections.discard(self)
        self._answers.cancel()
        if self._turn is not None:
            self._turn.cancel()
        self._held.clear()
        self._share.resize(0)

    def pause_writing(self) -> None:
        """The client reads more slowly than it sends requests."""
        self._answers.pause()
        self._account()

    def _is_busy(self) -> bool:
        return self._turn is not None or self._answers.is_busy

    def _is_last(self) -> bool:
        """Whether no request may follow the current one."""
        return self._reader.last or (self._server.draining and not self._held)

    def _account(self) -> None:
        """Charges what is held for the client, and pauses reading while more input would not help."""
        if not self._share.resize(len(self._held) + self._reader.size + self._answers.size):
            if self._answers.is_over or self._is_busy():
                return self._transport.abort()
            return self._refuse_now(too_busy())
        has_room = len(self._held) <= self._server.limits.read_ahead or not self._answers.is_under_way
        reading = self._answers.is_over or (self._turn is None and not self._answers.is_held_up and has_room)
        self._reading.switch(reading)

    def _after_answer(self) -> None:
        self._server.answered += 1
        if self._answers.is_over:
            self._hang_up()
        elif self._held:
            self._turn = self._server.turns.put_off(self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Resumes processing of held input."""
        raise NotImplementedError

    def _refuse(self, response: Response) -> bytes:
        """Answers a request that cannot be served; the connection then closes."""
        self._reader.last = True
        request = Request(self._reader.head or UNREADABLE, self._client, self._client.requests)
        return self._answers.render(request, response, True, self._last_seen, time.monotonic())

    def _refuse_now(self, response: Response) -> None:
        self._transport.write(self._refuse(response))
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes, but keeps reading briefly on input: unread bytes make the kernel reset the connection."""
        answers, transport = self._answers, self._transport
        answers.is_over = True
        more = bool(self._held) or self._reader.last
        self._held.clear()
        if not more and not self._has_ended and not answers.is_last_by_agreement:
            more = unread_bytes(transport) > 0
        if more and not self._has_ended and transport.can_write_eof():
            end_output(transport)
            asyncio.get_running_loop().call_later(self._server.limits.linger, transport.close)
            self._account()
        else:
            transport.close()

    def _leave_if_too_long(self) -> None:
        """Cancels long answers to a client that may be gone: half-closed, or its end is behind unread input."""
        may_be_gone = self._has_ended or len(self._held) > self._server.limits.read_ahead
        if may_be_gone and self._answers.takes_longer_than(self._server.limits.half_closed):
            self._transport.abort()

    def check(self, now: float) -> None:
        """Closes the connection, or refuses the request, if a timeout has passed."""
        limits, reader = self._server.limits, self._reader
        if self._answers.is_held_up:
            if self._answers.is_stuck(now):
                self._transport.abort()
        elif self._answers.is_under_way and not self._reading.is_on:
            self._has_ended = self._has_ended or has_hung_up(self._transport)
            self._leave_if_too_long()
        elif self._answers.is_over or self._is_busy():
            return
        elif reader.began and now - reader.began > limits.head_timeout:
            self.time_out("the request's head takes too long")
        elif reader.head is not None and now - self._last_seen > limits.body_timeout:
            self.time_out("the body takes too long")
        elif not reader.began and now - self._last_seen > limits.idle_timeout:
            self._transport.close()

    def time_out(self, reason: str) -> None:
        """Refuses a request that does not arrive in time."""
        if not self._answers.is_over:
            self._refuse_now(error(408, reason))

    def in_flight(self) -> int:
        """One or none, because requests are answered one at a time."""
        return int(bool(self._is_busy() or self._held or self._reader.head) and not self._answers.is_over)

    def idle_since(self) -> float | None:
        """Since the client's last bytes; an incomplete head does not count as a request."""
        busy = self._answers.is_over or self._is_busy() or self._reader.head
        return None if busy else self._last_seen

    def close_if_quiet(self, since: float) -> None:
        """Closes if no request is in progress or was just answered."""
        idle = not (self._answers.is_over or self._is_busy() or self._held or self._reader.head)
        if idle and self._last_seen < since and not unread_bytes(self._transport):
            self._transport.close()
