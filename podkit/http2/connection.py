"""An HTTP/2 connection (RFC 9113): its turns, timeouts and closing.

Input is processed in turns, interleaved with other connections: frames become requests (`requests`), requests
become answers (`answers`), and answers become frames (`send_queue`), with one write for all of them.
"""

import asyncio
import time
from typing import cast

from podkit.budget import Share
from podkit.flow import Progress, Reading
from podkit.http2 import frames
from podkit.http2.allowance import Allowance
from podkit.http2.answers import Answers
from podkit.http2.control import GOODBYE, Control
from podkit.http2.frames import Code, ConnectionFault, FrameReader
from podkit.http2.requests import Requests
from podkit.http2.send_queue import SendQueue
from podkit.http2.streams import Streams
from podkit.log import log_line
from podkit.message import Client, Request
from podkit.server import Server
from podkit.turns import Turn


class Http2Connection(asyncio.Protocol):
    """Starts with the client's preface, or with a request that HTTP/1.1 hands over."""

    def __init__(self, server: Server, client: Client) -> None:
        self._server = server
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None  # while something may be sent
        self._frames = FrameReader()
        self._share = Share(server.budget)  # for data that waits on either side of the streams
        self._room = Share(server.room)
        self._allowance = Allowance(server.limits)
        self._queue = SendQueue(server.limits.turn_bytes)
        self._streams = Streams(server, self._queue, self._allowance)
        self._answers = Answers(server, client, self._streams, self._queue, self._end_turn)
        self._control = Control(self._streams, self._queue, self._allowance)
        self._requests = Requests(server, client, self._streams, self._answers, self._control, self._allowance)
        self._queue.finish, self._queue.fail = self._streams.finish, self._answers.break_off
        self._turn: Turn | None = None  # the next turn, if there is work
        self._is_behind = False  # unprocessed frames are waiting
        self._first: Request | None = None  # handed over by HTTP/1.1
        self._is_asked_to_leave = False
        self._last_seen, self._ended_at = 0.0, 0.0  # time of its last activity, and of its half-close
        self._progress = Progress()  # of a client that does not read

    # callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected, or HTTP/1.1 has handed over its connection."""
        limits, queue = self._server.limits, self._queue
        self._any_transport = self._transport = cast(asyncio.Transport, transport)
        self._reading = Reading(self._transport)
        self._transport.set_write_buffer_limits(high=0)  # so that unsent bytes are charged
        self._server.connections.add(self)
        queue.write(frames.SETTINGS, 0, 0, frames.render_settings(limits))
        if not self._room.resize(limits.http2_cost):
            return self._fail(Code.ENHANCE_YOUR_CALM)
        self._streams.open_window()
        if self._first is not None:
            self._answers.begin(self._first)
        self._end_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is lost, and everything in progress with it."""
        self._server.connections.discard(self)
        self._stop()
        self._queue.let_go()
        self._answers.let_go()
        self._share.resize(0)
        self._room.resize(0)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._transport is not None:
            self._frames.feed(data)
            if not self._is_behind:
                self._work()

    def eof_received(self) -> bool:
        """The client has half-closed; its requests are still answered."""
        self._ended_at = time.monotonic()
        self._streams.end_input()
        self._control.client_knows = True
        self._end_turn()
        return self._transport is not None

    def pause_writing(self) -> None:
        """The client reads more slowly than we send."""
        self._queue.is_paused = True
        self._progress.restart()

    def resume_writing(self) -> None:
        """The client has caught up; what it could not send meanwhile does not count as late."""
        self._queue.is_paused = False
        self._frames.began = self._requests.began = 0.0
        self._work()

    def upgrade_from_http1(self, request: Request) -> None:
        """Starts with an HTTP/1.1 request as stream 1 (RFC 7540, 3.2); its body waits for the client's preface.

        Raises ValueError if its HTTP2-Settings header is malformed.
        """
        self._control.apply(frames.parse_settings_header(request.head.header(b"Http2-Settings")))
        self._first, self._queue.is_open = request, False
        self._frames.began = time.monotonic()

    # turns

    def _work(self) -> None:
        """Processes frames, but no more than one connection's share of a turn."""
        self._turn, self._is_behind = None, False
        if self._transport is None:
            return self._account()
        limits, requests, queue = self._server.limits, self._requests, self._queue
        requests.work = 0
        self._allowance.refill(time.monotonic())
        try:
            while not queue.is_paused:
                if requests.work >= limits.turn_input or queue.fresh >= limits.turn_bytes:
                    self._is_behind = True
                    break
                frame = self._frames.next()
                if frame is None:
                    break
                requests.handle(frame)
            queue.is_open = self._frames.has_begun
            self._streams.touch(self._frames.data_stream)
        except ConnectionFault as fault:
            return self._fail(fault.code)
        except Exception as mistake:
            log_line(f"error: HTTP/2 from {self._client.remote_addr}: {mistake!r}")
            return self._fail(Code.INTERNAL_ERROR)
        self._end_turn()

    def _end_turn(self) -> None:
        """Sends output, charges what is still held, and schedules the next turn."""
        transport, queue = self._transport, self._queue
        if transport is None:
            return
        has_more = self._answers.go_on()
        has_more = queue.pump() or has_more
        self._allowance.earn(queue.sent)
        queue.sent = 0
        if self._answers.settle():
            has_more = queue.pump() or has_more
        if self._server.draining and self._streams.last_id:  # a new client gets an answer first
            self._ask_to_leave()
        if self._control.client_knows or self._answers.closes:
            self._decide_last()
        queue.flush(transport)
        self._last_seen = time.monotonic()
        self._account()
        if (has_more or self._is_behind) and not queue.is_paused and self._turn is None:
            self._turn = self._server.turns.put_off(self._work)

    def _account(self) -> None:
        """Charges what waits on either side of the streams, and pauses reading while that is of no use."""
        transport, queue = self._any_transport, self._queue
        size = 0 if self._transport is None else len(self._frames) + len(self._requests.block)
        if queue.is_paused:
            size += transport.get_write_buffer_size()
        if size != self._share.size and not self._share.resize(size):
            return transport.abort() if queue.is_paused else self._fail(Code.ENHANCE_YOUR_CALM)
        self._reading.switch(not (self._is_behind or queue.is_paused))

    # timeouts

    def check(self, now: float) -> None:
        """Closes the connection, or a stream, if a timeout has passed."""
        limits, queue = self._server.limits, self._queue
        began = self._requests.began or self._frames.began
        if queue.is_paused:
            if self._progress.is_stuck(self._any_transport, now, limits.send_timeout):
                self.abort()
        elif self._transport is None:
            return
        elif began and not self._is_behind and now - began > limits.head_timeout:
            self._fail(Code.ENHANCE_YOUR_CALM)
        elif not self._streams and now - self._last_seen > limits.idle_timeout:
            self._decide_last()
        elif self._ended_at and now - self._ended_at > limits.half_closed:
            self.abort()
        elif self._answers.check(now):
            self._end_turn()

    # closing

    def in_flight(self) -> int:
        """The number of open streams."""
        return len(self._streams.open)

    def idle_since(self) -> float | None:
        """Since the client's last bytes."""
        return None if self._streams.open or self._is_behind else self._last_seen

    def say_goodbye(self) -> None:
        """Asks the client to open no more streams; those on their way are answered."""
        self._answers.say_farewell()
        self._ask_to_leave()
        self._end_turn()

    def _ask_to_leave(self) -> None:
        if not self._is_asked_to_leave:
            self._is_asked_to_leave = True
            self._queue.write_goaway(frames.MAX_WINDOW)
            self._queue.write(frames.PING, 0, 0, GOODBYE)

    def close_if_quiet(self, now: float) -> None:
        """Closes if nothing is in progress and no request was just answered."""
        if not self._streams.open and not self._is_behind and now - self._last_seen > self._server.limits.quiet:
            self._decide_last()

    def abort(self) -> None:
        """Closes the connection immediately."""
        self._any_transport.abort()

    def _decide_last(self) -> None:
        """Refuses streams after the current ones, and closes when none is left."""
        if self._transport is None:
            return
        if not self._streams.open:
            self._queue.write_goaway(self._streams.last_id)
            self._end()
        elif self._requests.last_wanted == frames.MAX_WINDOW:
            self._requests.last_wanted = self._streams.last_id
            self._queue.write_goaway(self._streams.last_id)

    def _fail(self, code: Code) -> None:
        """Closes with an error: the client violated the protocol or a limit."""
        self._queue.write_goaway(self._streams.last_id, code)
        self._end()

    def _end(self) -> None:
        """Takes no more input, but keeps reading briefly, so that the kernel does not reset the connection."""
        transport = self._any_transport
        self._queue.flush(transport)
        self._stop()
        self._account()
        if transport.can_write_eof() and not self._ended_at:
            transport.write_eof()
            self._loop.call_later(self._server.limits.linger, transport.close)
        else:
            transport.close()

    def _stop(self) -> None:
        self._transport, self._is_behind, self._frames = None, False, FrameReader()
        self._streams.clear()
        if self._turn is not None:
            self._turn.cancel()
