"""The open streams of a connection, their memory, and how recently closed ones ended."""

import asyncio
import time
from collections import deque
from typing import Final

from podkit.http2.allowance import Allowance
from podkit.http2.frames import (
    DEFAULT_WINDOW,
    WINDOW_UPDATE,
    Code,
    ConnectionFault,
    StreamFault,
    render_number,
)
from podkit.http2.send_queue import SendQueue
from podkit.http2.stream import Stream
from podkit.message import Head
from podkit.server import Server

_REMEMBERED: Final = 64  # streams that ended well, so that late frames on them are not mistaken for errors


class Streams:
    """Streams by number. Their memory is charged to the process's budget at the end of a turn."""

    def __init__(self, server: Server, queue: SendQueue, allowance: Allowance) -> None:
        self._server = server
        self._budget = server.budget
        self._limits = server.limits
        self._queue = queue
        self._allowance = allowance
        self.open: dict[int, Stream] = {}
        self.unread: dict[int, float] = {}  # streams answered before the client sent everything, and when
        self.touched: list[Stream] = []  # streams that may hold more than is charged
        self.last_id = 0  # the highest that the client has opened
        self._window = DEFAULT_WINDOW  # bytes that the client may send
        self._taken = 0  # bytes taken since the last window update
        self._ended: deque[int] = deque(maxlen=_REMEMBERED)
        self._reset: deque[int] = deque(maxlen=server.limits.max_streams)

    def __len__(self) -> int:
        """The number of streams that count against the client's limit."""
        return len(self.open) + len(self.unread)

    def open_window(self) -> None:
        """Raises the connection's window above the protocol's default."""
        self.credit(self._limits.window - self._window)

    def receive(self, size: int) -> None:
        """Counts received bytes. Raises ConnectionFault if they exceed the window."""
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR)

    def credit(self, size: int, stream: Stream | None = None) -> None:
        """Returns flow-control credit for taken bytes, on the connection and on the stream."""
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
        """Charges what a stream holds now; False, without a change, if the budget is exhausted."""
        charge = self._limits.stream_cost + stream.holds()
        if charge > stream.charge and not self._budget.take(charge - stream.charge):
            return False
        if charge < stream.charge:
            self._budget.give(stream.charge - charge)
        stream.charge = charge
        return True

    def open_stream(self, stream_id: int, head: Head, size: int, ended: bool) -> Stream:
        """Opens a stream for a head of `size` bytes."""
        stream = Stream(stream_id, head, size, ended, (self._queue.initial_window, self._limits.window))
        self.open[stream_id] = stream
        return stream

    def end_input(self) -> None:
        """The client has half-closed: unfinished streams will stay incomplete."""
        for stream in tuple(self.open.values()):
            if not stream.ended:
                self.drop(stream)
        self.unread.clear()

    def finish(self, stream: Stream) -> None:
        """Marks a stream as answered."""
        self._server.answered += 1
        self.drop(stream)
        self._allowance.earn_answer()
        if stream.ended:
            self._ended.append(stream.id)
        else:  # the answer did not need the rest; some clients read it before they notice the reset
            self.unread[stream.id] = time.monotonic()

    def reset(self, stream_id: int, code: Code) -> None:
        """Ends a stream with RST_STREAM."""
        self._queue.write_reset(stream_id, code)
        self._reset.append(stream_id)
        self.forget(stream_id)

    def end(self, stream_id: int) -> None:
        """The client has ended a stream."""
        self._ended.append(stream_id)
        self.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        """Removes a stream in any state."""
        self.unread.pop(stream_id, None)
        stream = self.open.get(stream_id)
        if stream is not None:
            self.drop(stream)

    def drop(self, stream: Stream) -> None:
        """Drops everything that an open stream holds."""
        del self.open[stream.id]
        self._queue.drop(stream)
        self._budget.give(stream.charge)
        stream.charge = 0
        # without them no reference cycle is left for the garbage collector, which may come late
        maker, stream.maker, inbox, stream.inbox = stream.maker, None, stream.inbox, None
        if isinstance(maker, asyncio.Task):
            self._server.turns.cancel(maker)
        elif maker is not None:
            maker.cancel()
        if inbox is not None:
            self.credit(inbox.empty())

    def touch(self, stream_id: int) -> None:
        """Notes that a stream receives data: a part of a frame."""
        if stream_id in self.open:
            self.open[stream_id].touched = time.monotonic()

    def clear(self) -> None:
        """Removes all streams when the connection is closed."""
        self.unread.clear()
        for stream in tuple(self.open.values()):
            self.drop(stream)

    def refuse_idle(self, stream_id: int) -> None:
        """Raises ConnectionFault for a stream that the client has not opened."""
        if not stream_id & 1 or stream_id > self.last_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR)

    def take_late_data(self, stream_id: int, ended: bool) -> None:
        """Ignores DATA on a stream that is answered or reset. Raises StreamFault for one that has ended."""
        self.refuse_idle(stream_id)
        if stream_id in self.unread:
            if ended:
                self.end(stream_id)
        elif not self.was_reset(stream_id):
            raise StreamFault(Code.STREAM_CLOSED)

    def was_reset(self, stream_id: int) -> bool:
        """Whether the server has reset the stream recently; the client may not know yet."""
        return stream_id in self._reset

    def has_ended(self, stream_id: int) -> bool:
        """Whether the stream has ended recently."""
        return stream_id in self._ended or stream_id in self._reset
