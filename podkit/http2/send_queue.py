"""What an HTTP/2 connection sends: what the windows and the client's reading allow, all streams in turn."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from podkit.http2.stream import Stream
from podkit.message import Block

LINGER: Final = 1.0  # seconds to read on after the end, so that the client gets to see it
TURN: Final = 1 << 18  # bytes to send before others get their turn


class Outbox:
    """The way to the client. `finish` is called with each stream whose answer is complete."""

    def __init__(self, h2: H2Connection, finish: Callable[[int, Stream], None]) -> None:
        self._h2 = h2
        self._finish = finish
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._sending: dict[int, Stream] = {}
        self._paused = False  # the client does not read
        self._is_due = False  # a turn of sending is

    def open(self, transport: asyncio.Transport) -> None:
        """From now on there is a client."""
        self._transport = transport

    def pause(self) -> None:
        """The client reads slower than it is sent to."""
        self._paused = True

    def resume(self) -> None:
        """The client has caught up."""
        self._paused = False
        self.pump()

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._sending

    def put(self, stream_id: int, stream: Stream, blocks: Iterable[Block], length: int) -> None:
        """Have `length` bytes sent on a stream, from the next `pump` on."""
        stream.send(blocks, length)
        self._sending[stream_id] = stream

    def drop(self, stream_id: int) -> None:
        """Send no more on a stream."""
        self._sending.pop(stream_id, None)

    def pump(self) -> None:
        """Send what the windows allow, a frame of each stream in turn."""
        budget, moved = TURN, True
        while moved and budget > 0 and self._sending and not self._paused:
            moved = False
            for stream_id, stream in list(self._sending.items()):
                sent = self._send_frame(stream_id, stream)
                budget -= sent
                moved = moved or sent > 0
        self.flush()
        if moved and self._sending and not self._paused and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_due = False
        if self._transport is not None:
            self.pump()

    def _send_frame(self, stream_id: int, stream: Stream) -> int:
        """Send at most one frame of the body; the bytes sent, 0 where the window is closed."""
        room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
        if room <= 0:
            return 0
        piece = stream.next_piece(room)
        stream.touched = self._loop.time()
        more = stream.left or stream.sent is not None or stream.trailers_to_send
        self._h2.send_data(stream_id, piece, end_stream=not more)
        if not stream.left:
            self.complete(stream_id, stream)
        return len(piece)

    def complete(self, stream_id: int, stream: Stream) -> None:
        """The body is sent: what is left are trailers, or more of a dialogue."""
        if stream.sent is not None:
            self.drop(stream_id)
            return stream.sent.set_result(None)
        if stream.trailers_to_send:
            self._h2.send_headers(stream_id, stream.trailers_to_send, end_stream=True)
        self._finish(stream_id, stream)

    def flush(self) -> None:
        """Hand over to the transport what h2 has to say."""
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def write_goaway(self, last_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Not by h2, which takes a GOAWAY for the end of all streams."""
        self.flush()
        if self._transport is not None:
            self._transport.write(GoAwayFrame(0, last_stream_id=last_id, error_code=code).serialize())

    def close(self) -> None:
        """Send what is left and end, but read on for a moment: unread bytes make the kernel reset it."""
        self.flush()
        self._sending.clear()
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
            self._loop.call_later(LINGER, transport.close)
        else:
            transport.close()

    def lose(self) -> None:
        """The client is gone."""
        self._transport = None
        self._sending.clear()
