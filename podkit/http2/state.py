"""The state of an HTTP/2 connection: its parts, timeouts, and closing."""

import asyncio
from typing import cast

from podkit.budget import Share
from podkit.connections import Connection
from podkit.flow import Progress, Reading
from podkit.http2 import frames
from podkit.http2.allowance import Allowance
from podkit.http2.answers import Answers
from podkit.http2.control import GOODBYE, Control
from podkit.http2.frames import Code, FrameReader
from podkit.http2.requests import Requests
from podkit.http2.send_queue import SendQueue
from podkit.http2.streams import Streams
from podkit.kernel import end_output
from podkit.message import Client, Request
from podkit.server import Server
from podkit.turns import Turn


class Http2State(Connection):
    """The state of a connection. `Http2Connection` processes its frames."""

    def __init__(self, server: Server, client: Client) -> None:
        self._server = server
        self._client = client
        self._loop = asyncio.get_running_loop()
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
        self._is_over = False  # nothing more is sent
        self._last_seen, self._ended_at = 0.0, 0.0  # time of its last activity, and of its half-close
        self._progress = Progress()  # of a client that does not read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected, or HTTP/1.1 has handed over its connection."""
        limits, queue = self._server.limits, self._queue
        self._transport = cast(asyncio.Transport, transport)
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
        self._requests.let_go()
        self._share.resize(0)
        self._room.resize(0)

    def _end_turn(self) -> None:
        """Sends output, and schedules the next turn."""
        raise NotImplementedError

    def _account(self) -> None:
        """Charges what waits on either side of the streams, and pauses reading while that is of no use."""
        transport, queue = self._transport, self._queue
        size = 0 if self._is_over else len(self._frames) + self._requests.held
        if queue.is_paused:
            size += transport.get_write_buffer_size()
        if size != self._share.size and not self._share.resize(size):
            return transport.abort() if queue.is_paused else self._fail(Code.ENHANCE_YOUR_CALM)
        self._reading.switch(not (self._is_behind or queue.is_paused))

    def check(self, now: float) -> None:
        """Closes the connection, or a stream, if a timeout has passed."""
        limits, queue = self._server.limits, self._queue
        began = self._requests.block.began or self._frames.began
        if queue.is_paused:
            if self._progress.is_stuck(self._transport, now, limits.send_timeout):
                self.abort()
        elif self._is_over:
            return
        elif began and not self._is_behind and now - began > limits.head_timeout:
            self._fail(Code.ENHANCE_YOUR_CALM)
        elif not self._streams and now - self._last_seen > limits.idle_timeout:
            self._decide_last()
        elif self._ended_at and now - self._ended_at > limits.half_closed:
            self.abort()
        elif self._answers.check(now):
            self._end_turn()

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

    def close_if_quiet(self, since: float) -> None:
        """Closes if nothing is in progress and no request was just answered."""
        if not self._streams.open and not self._is_behind and self._last_seen < since:
            self._decide_last()

    def _decide_last(self) -> None:
        """Refuses streams after the current ones, and closes when none is left."""
        if self._is_over:
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
        transport = self._transport
        self._queue.flush(transport)
        self._stop()
        self._account()
        if transport.can_write_eof() and not self._ended_at:
            end_output(transport)
            self._loop.call_later(self._server.limits.linger, transport.close)
        else:
            transport.close()

    def _stop(self) -> None:
        self._is_over, self._is_behind, self._frames = True, False, FrameReader()
        self._streams.clear()
        if self._turn is not None:
            self._turn.cancel()
