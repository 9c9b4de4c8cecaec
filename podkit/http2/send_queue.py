"""What an HTTP/2 connection sends: what the windows and the client's reading allow, all streams in turn."""

import asyncio
import time
from collections.abc import Callable, Iterable

from podkit.http2 import frames
from podkit.http2.compression import NO_TABLE, encode
from podkit.http2.frames import MAX_PAYLOAD, MAX_WINDOW, Code, ConnectionFault, StreamFault, render_number
from podkit.http2.stream import Stream
from podkit.message import Block


class SendQueue:
    """The way to the client."""

    finish: Callable[[Stream], None]  # is called with each stream whose answer is complete
    fail: Callable[[Stream, Exception], None]  # with a stream whose iterator of blocks raised that

    def __init__(self, turn: int) -> None:
        self._turn = turn  # bytes to send before others get their turn
        self._out: list[Block] = []
        self._before_block = NO_TABLE
        self.sending: dict[int, Stream] = {}  # streams with a block that waits
        self.made = 0  # bytes of bodies that were made and wait
        self.fresh = 0  # of those that were made since the last `pump`
        self.sent = 0  # bytes of bodies since somebody asked
        self.window = frames.DEFAULT_WINDOW  # of the connection
        self.initial_window = frames.DEFAULT_WINDOW  # of its next stream
        self.is_open = True  # the client speaks HTTP/2 by now
        self.is_paused = False  # the client does not read

    def let_go(self) -> None:
        """Call nobody any longer, so that no cycle is left."""
        self.finish = lambda stream: None
        self.fail = lambda stream, problem: None

    # frames

    def write(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        """Have a frame written by the next `flush`."""
        self._out.append(frames.render_frame(kind, flags, stream_id, payload))

    def write_block(self, stream_id: int, block: bytes, end: bool) -> None:
        """A header block, in as many frames as it takes."""
        if self._before_block:
            block, self._before_block = self._before_block + block, b""
        kind, flags = frames.HEADERS, frames.END_STREAM if end else 0
        while len(block) > MAX_PAYLOAD:
            self.write(kind, flags, stream_id, block[:MAX_PAYLOAD])
            kind, flags, block = frames.CONTINUATION, 0, block[MAX_PAYLOAD:]
        self.write(kind, flags | frames.END_HEADERS, stream_id, block)

    def write_reset(self, stream_id: int, code: Code) -> None:
        """RST_STREAM."""
        self.write(frames.RST_STREAM, 0, stream_id, render_number(code))

    def write_goaway(self, last_id: int, code: Code = Code.NO_ERROR) -> None:
        """GOAWAY."""
        self.write(frames.GOAWAY, 0, 0, render_number(last_id) + render_number(code))

    def flush(self, transport: asyncio.Transport) -> None:
        """Hand over to the transport what there is to write, in one go."""
        out, self._out = self._out, []
        if len(out) > 1 and any(len(part) >= MAX_PAYLOAD for part in out):  # too large to copy once more
            transport.writelines(out)
        elif out:
            transport.write(b"".join(out))

    # windows

    def room(self, stream: Stream) -> int:
        """The bytes of a body that may be sent now."""
        return min(stream.window, self.window) if self.is_open and not self.is_paused else 0

    def widen(self, increment: int) -> None:
        """The client has room for more on the connection."""
        if not increment:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        self.window += increment
        if self.window > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR)

    def widen_stream(self, stream: Stream, increment: int) -> None:
        """The client has room for more on a stream."""
        if not increment:
            raise StreamFault(Code.PROTOCOL_ERROR)
        stream.window += increment
        if stream.window > MAX_WINDOW:
            raise StreamFault(Code.FLOW_CONTROL_ERROR)

    def set_initial_window(self, size: int, streams: Iterable[Stream]) -> None:
        """The client sets how much it takes on each stream, those that are open included."""
        increment, self.initial_window = size - self.initial_window, size
        for stream in streams:
            stream.window += increment
            if stream.window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR)

    # bodies

    def put(self, stream: Stream) -> None:
        """Send a stream's block as soon as that can be: now, or by the next `pump`."""
        size = len(stream.block)
        self.fresh += size
        if size <= MAX_PAYLOAD and not self.sending and size <= self.room(stream):
            self._send_frame(stream, size)
        if stream.block:
            self.sending[stream.id] = stream
            self.made += stream.made

    def drop(self, stream: Stream) -> None:
        """Send no more of a stream's block."""
        if self.sending.pop(stream.id, None) is not None:
            self.made -= stream.made

    def pump(self) -> bool:
        """Send a frame of each stream in turn; whether there is more that could be sent now."""
        self.fresh = 0
        left, moved, now = self._turn, True, time.monotonic()
        while moved and left > 0 and self.sending:
            moved = False
            for stream in tuple(self.sending.values()):
                size = min(self.room(stream), len(stream.block), MAX_PAYLOAD)
                if size > 0:
                    stream.touched, left, moved = now, left - size, True
                    self._send_frame(stream, size)
        return moved and bool(self.sending)

    def _send_frame(self, stream: Stream, size: int) -> None:
        """Send so many bytes of the block."""
        piece, stream.block = stream.block[:size], stream.block[size:]
        stream.window -= size
        self.window -= size
        self.sent += size
        if not stream.block:
            try:
                stream.refill()
            except Exception as mistake:
                return self.fail(stream, mistake)
        is_last = not stream.block and not stream.is_fed and not stream.trailers_to_send
        self._out.append(
            frames.render_frame_head(frames.DATA, frames.END_STREAM if is_last else 0, stream.id, size)
        )
        self._out.append(piece)
        if not stream.block:
            self.complete(stream)

    def complete(self, stream: Stream) -> None:
        """The block is sent, and none follows but what the maker of a fed stream brings."""
        self.drop(stream)
        if stream.is_fed:
            if stream.taken is not None and not stream.taken.done():
                stream.taken.set_result(None)
            return
        if stream.trailers_to_send:
            self.write_block(stream.id, encode(stream.trailers_to_send), end=True)
        self.finish(stream)
