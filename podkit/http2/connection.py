"""An HTTP/2 connection (RFC 9113) and its turns.

Input is processed in turns, interleaved with other connections: frames become requests (`requests`), requests
become answers (`answers`), and answers become frames (`send_queue`), with one write for all of them.
"""

import time
from typing import Final

from podkit.http2 import frames
from podkit.http2.frames import Code, ConnectionFault
from podkit.http2.state import Http2State
from podkit.log import log_line
from podkit.message import Request
from podkit.turns import SHORT

_FEW: Final = 2048  # bytes of work: a few frames, which are processed however much others have to do


class Http2Connection(Http2State):
    """Starts with the client's preface, or with a request that HTTP/1.1 hands over."""

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._is_over:
            return self._reading.rest(self._server.turns)
        self._frames.feed(data)
        if self._is_behind:
            return
        turns = self._server.turns
        if turns.is_full and len(data) > SHORT:
            self._is_behind, self._turn = True, turns.put_off(self._take_turn)
            return self._account()
        start = time.monotonic()
        self._work(_FEW if turns.is_full else self._server.limits.turn_input)
        if len(data) > SHORT or self._requests.work > _FEW:
            turns.spend(time.monotonic() - start)

    def eof_received(self) -> bool:
        """The client has half-closed; its requests are still answered."""
        self._ended_at = time.monotonic()
        self._streams.end_input()
        self._control.client_knows = True
        self._end_turn()
        return not self._is_over

    def pause_writing(self) -> None:
        """The client reads more slowly than we send."""
        self._queue.is_paused = True
        self._progress.restart()

    def resume_writing(self) -> None:
        """The client has caught up; what it could not send meanwhile does not count as late."""
        self._queue.is_paused = False
        self._frames.began = self._requests.block.began = 0.0
        self._take_turn()

    def upgrade_from_http1(self, request: Request) -> None:
        """Starts with an HTTP/1.1 request as stream 1 (RFC 7540, 3.2); its body waits for the client's preface.

        Raises ValueError if its HTTP2-Settings header is malformed.
        """
        self._control.apply(frames.parse_settings_header(request.head.header(b"Http2-Settings")))
        self._first, self._queue.is_open = request, False
        self._frames.began = time.monotonic()

    # turns

    def _take_turn(self) -> None:
        self._work(self._server.limits.turn_input)

    def _work(self, most: int) -> None:
        """Processes frames: `most` bytes of work, but no more than one connection's share of a turn."""
        self._turn, self._is_behind = None, False
        if self._is_over:
            return self._account()
        limits, requests, queue = self._server.limits, self._requests, self._queue
        requests.work, now = 0, time.monotonic()
        until = now + limits.turn_time
        self._allowance.refill(now)
        try:
            while not queue.is_paused:
                if (
                    requests.work >= most
                    or queue.fresh >= limits.turn_bytes
                    or (requests.work and time.monotonic() >= until)
                ):
                    self._is_behind = True
                    break
                if requests.is_behind:
                    requests.go_on()
                    continue
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
        if self._is_over:
            return
        queue = self._queue
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
        queue.flush(self._transport)
        self._last_seen = time.monotonic()
        self._account()
        if (has_more or self._is_behind) and not queue.is_paused and self._turn is None:
            self._turn = self._server.turns.put_off(self._take_turn)
