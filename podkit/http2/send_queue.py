"""Sends the streams' data as flow control and the client's reading allow, all streams in turn."""

import asyncio
import time
from collections.abc import Callable, Iterable

from podkit.http2 import frames
from podkit.http2.compression import NO_TABLE, encode
from podkit.http2.frames import MAX_PAYLOAD, MAX_WINDOW, Code, ConnectionFault, StreamFault, render_number
from podkit.http2.stream import Stream
from podkit.message import Block


class SendQueue:
    """The output of a connection."""

    finish: Callable[[Stream], None]  # called with each stream whose answer is complete
    fail: Callable[[Stream, Exception], None]  # called with a stream whose iterator raised an exception

    def __init__(self, turn: int) -> None:
        self._turn = turn  # bytes to send before others get their turn
        self._out: list[Block] = []
        self._before_block = NO_TABLE
        self.sending: dict[int, Stream] = {}  # streams with a waiting block
        self.made = 0  # bytes of bodies that were generated and wait
        self.fresh = 0  # of those, generated since the last `pump`
        self.sent = 0  # bytes of bodies sent since the last query
        self.window = frames.DEFAULT_WINDOW  # of the connection
        self.initial_window = frames.DEFAULT_WINDOW  # of its next stream
        self.is_open = True  # the client speaks HTTP/2
        self.is_paused = False  # the client does not read

    def let_go(self) -> None:
        """Drops the callbacks, so that no reference cycle is left."""
        self.finish = lambda stream: None
        self.fail = lambda stream, problem: None

    # frames

    def write(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        """Queues a frame for the next `flush`."""
        self._out.append(frames.render_frame(kind, flags, stream_id, payload))

    def write_block(self, stream_id: int, block: bytes, end: bool) -> None:
        """Queues a header block, in as many frames as necessary."""
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
        """Writes all queued frames to the transport at once."""
        out, self._out = self._out, []
        if len(out) > 1 and any(len(part) >= MAX_PAYLOAD for part in out):  # too large to copy again
            transport.writelines(out)
        elif out:
            transport.write(b"".join(out))

    # flow control

    def room(self, stream: Stream) -> int:
        """The bytes of a body that may be sent now."""
        return min(stream.window, self.window) if self.is_open and not self.is_paused else 0

    def widen(self, increment: int) -> None:
        """Enlarges the connection's window."""
        if not increment:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        self.window += increment
        if self.window > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR)

    def widen_stream(self, stream: Stream, increment: int) -> None:
        """Enlarges a stream's window."""
        if not increment:
            raise StreamFault(Code.PROTOCOL_ERROR)
        stream.window += increment
        if stream.window > MAX_WINDOW:
            raise StreamFault(Code.FLOW_CONTROL_ERROR)

    def set_initial_window(self, size: int, streams: Iterable[Stream]) -> None:
        """Sets the initial window of streams, and adjusts the open ones."""
        increment, self.initial_window = size - self.initial_window, size
        for stream in streams:
            stream.window += increment
            if stream.window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR)

    # bodies

    def put(self, stream: Stream) -> None:
        """Sends a stream's block as soon as possible: now, or in the next `pump`."""
        size = len(stream.block)
        self.fresh += size
        if size <= MAX_PAYLOAD and not self.sending and size <= self.room(stream):
            self._send_frame(stream, size)
        if stream.block:
            self.sending[stream.id] = stream
            self.made += stream.made

    def drop(self, stream: Stream) -> None:
        """Drops the rest of a stream's block."""
        if self.sending.pop(stream.id, None) is not None:
            self.made -= stream.made

    def pump(self) -> bool:
        """Sends a frame of each stream in turn; returns whether more could be sent now."""
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
        """Sends `size` bytes of the block."""
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
        """The block is sent; only a fed stream's maker may add another."""
        self.drop(stream)
        if stream.is_fed:
            if stream.taken is not None and not stream.taken.done():
                stream.taken.set_result(None)
            return
        if stream.trailers_to_send:
            self.write_block(stream.id, encode(stream.trailers_to_send), end=True)
        self.finish(stream)
