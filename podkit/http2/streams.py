"""The streams of a connection that are not over, what they hold, and how those ended that are."""

import time
from collections import deque
from typing import Final

from podkit.http2.allowance import Allowance
from podkit.http2.frames import DEFAULT_WINDOW, WINDOW_UPDATE, Code, ConnectionFault, render_number
from podkit.http2.send_queue import SendQueue
from podkit.http2.stream import Stream
from podkit.message import Head
from podkit.server import Server

_REMEMBERED: Final = 64  # streams that ended well, so that what is sent on them is told from other mistakes


class Streams:
    """By number. What a stream holds is charged to the process's budget from the end of a turn on."""

    def __init__(self, server: Server, queue: SendQueue, allowance: Allowance) -> None:
        self._server = server
        self._budget = server.budget
        self._limits = server.limits
        self._queue = queue
        self._allowance = allowance
        self.open: dict[int, Stream] = {}
        self.unread: dict[int, float] = {}  # those answered before the client sent all: when that was
        self.touched: list[Stream] = []  # those that may hold more than they are charged for
        self.last_id = 0  # the highest that the client has opened
        self._window = DEFAULT_WINDOW  # bytes that the client may send
        self._taken = 0  # of the bytes that it has sent, those that it does not know to be taken
        self._ended: deque[int] = deque(maxlen=_REMEMBERED)
        self._reset: deque[int] = deque(maxlen=server.limits.max_streams)

    def __len__(self) -> int:
        """Those that count, for the client."""
        return len(self.open) + len(self.unread)

    def open_window(self) -> None:
        """Let the client send more than what every peer has to take."""
        self.credit(self._limits.window - self._window)

    def receive(self, size: int) -> None:
        """Count bytes that came. Raises ConnectionFault where there was no room for them."""
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR)

    def credit(self, size: int, stream: Stream | None = None) -> None:
        """Let the client send as much again as was taken, on the connection and on the stream."""
        half = self._limits.window // 2
        self._taken += size
        if self._taken >= half:
            self._queue.write(WINDOW_UPDATE, 0, 0, render_number(self._taken))
            self._window, self._taken = self._window + self._taken, 0
        if stream is None or stream.ended:
            return
        free = self._limits.window - stream.receive_window - (len(stream.inbox) if stream.inbox else 0)
        if free >= half:
            self._queue.write(WINDOW_UPDATE, 0, stream.id, render_number(free))
            stream.receive_window += free

    def charge(self, stream: Stream) -> bool:
        """Charge what a stream holds now; False, and no change, where the budget lacks it."""
        charge = self._limits.stream_cost + stream.holds()
        if charge > stream.charge and not self._budget.take(charge - stream.charge):
            return False
        if charge < stream.charge:
            self._budget.give(stream.charge - charge)
        stream.charge = charge
        return True

    def open_stream(self, stream_id: int, head: Head, size: int, ended: bool) -> Stream:
        """The client opens a stream with a head of so many bytes."""
        stream = Stream(stream_id, head, size, ended, (self._queue.initial_window, self._limits.window))
        self.open[stream_id] = stream
        return stream

    def end_input(self) -> None:
        """The client sends no more: streams that it has not ended never will be."""
        for stream in tuple(self.open.values()):
            if not stream.ended:
                self.drop(stream)
        self.unread.clear()

    def finish(self, stream: Stream) -> None:
        """A stream is answered."""
        self._server.answered += 1
        self.drop(stream)
        self._allowance.earn_answer()
        if stream.ended:
            self._ended.append(stream.id)
        else:  # the answer did not need the rest; some clients want to read it before the reset
            self.unread[stream.id] = time.monotonic()

    def reset(self, stream_id: int, code: Code) -> None:
        """End a stream by RST_STREAM."""
        self._queue.write_reset(stream_id, code)
        self._reset.append(stream_id)
        self.forget(stream_id)

    def end(self, stream_id: int) -> None:
        """The client has ended a stream."""
        self._ended.append(stream_id)
        self.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        """A stream is over, in whatever state it is."""
        self.unread.pop(stream_id, None)
        stream = self.open.get(stream_id)
        if stream is not None:
            self.drop(stream)

    def drop(self, stream: Stream) -> None:
        """Let go of all that an open stream holds."""
        del self.open[stream.id]
        self._queue.drop(stream)
        self._budget.give(stream.charge)
        stream.charge = 0
        if stream.maker is not None:
            stream.maker.cancel()
        if stream.inbox is not None:
            self.credit(stream.inbox.empty())

    def touch(self, stream_id: int) -> None:
        """Some of a body has come."""
        if stream_id in self.open:
            self.open[stream_id].touched = time.monotonic()

    def clear(self) -> None:
        """The connection is over, and with it all streams."""
        self.unread.clear()
        for stream in tuple(self.open.values()):
            self.drop(stream)

    def refuse_idle(self, stream_id: int) -> None:
        """Raise ConnectionFault for a stream that the client has not opened."""
        if not stream_id & 1 or stream_id > self.last_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR)

    def was_reset(self, stream_id: int) -> bool:
        """Whether the server has ended the stream lately: the client may not know yet."""
        return stream_id in self._reset

    def has_ended(self, stream_id: int) -> bool:
        """Whether the stream has ended lately."""
        return stream_id in self._ended or stream_id in self._reset
