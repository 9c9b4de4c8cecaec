"""Frames about the connection, flow control and stream ends, which involve no endpoint."""

from collections.abc import Callable
from typing import Final

from podkit.http2 import frames
from podkit.http2.allowance import Allowance
from podkit.http2.frames import Code, ConnectionFault, Frame, Setting, StreamFault
from podkit.http2.send_queue import SendQueue
from podkit.http2.streams import Streams

GOODBYE: Final = b"goodbye!"  # a ping payload; its echo shows that the client has our GOAWAY
_OF_CONNECTION: Final = frozenset((frames.SETTINGS, frames.PING, frames.GOAWAY))
_OF_STREAM: Final = frozenset((frames.PRIORITY, frames.RST_STREAM))
_SIZES: Final = {frames.RST_STREAM: 4, frames.PING: 8, frames.WINDOW_UPDATE: 4}


class Control:
    """Each of its frames takes a token from the client's allowance."""

    def __init__(self, streams: Streams, queue: SendQueue, allowance: Allowance) -> None:
        self._streams = streams
        self._queue = queue
        self._allowance = allowance
        self.client_knows = False  # that one side is closing

    def handle(self, frame: Frame) -> None:
        """Processes a frame. Raises ConnectionFault or StreamFault."""
        self._allowance.spend()
        kind = frame.kind
        if kind in _OF_CONNECTION if frame.stream_id else kind in _OF_STREAM:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if len(frame.payload) != _SIZES.get(kind, len(frame.payload)):
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)
        handler = self._HANDLERS.get(kind)
        if handler is not None:  # unknown frames are ignored
            handler(self, frame)

    def _on_priority(self, frame: Frame) -> None:
        if len(frame.payload) != 5:
            raise StreamFault(Code.FRAME_SIZE_ERROR)
        if frames.depends_on_itself(frame):
            raise StreamFault(Code.PROTOCOL_ERROR)

    def _on_reset(self, frame: Frame) -> None:
        self._streams.refuse_idle(frame.stream_id)
        self._streams.end(frame.stream_id)

    def _on_settings(self, frame: Frame) -> None:
        if not frame.flags & frames.ACK:
            self.apply(frames.parse_settings(frame.payload))
            self._queue.write(frames.SETTINGS, frames.ACK, 0)
        elif frame.payload:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)

    def apply(self, settings: dict[int, int]) -> None:
        """Applies the client's settings; only the window affects what we send."""
        if Setting.INITIAL_WINDOW_SIZE in settings:
            self._queue.set_initial_window(settings[Setting.INITIAL_WINDOW_SIZE], self._streams.open.values())

    def _on_push(self, frame: Frame) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR)

    def _on_ping(self, frame: Frame) -> None:
        if not frame.flags & frames.ACK:
            self._queue.write(frames.PING, frames.ACK, 0, frame.payload)
        elif frame.payload == GOODBYE:
            self.client_knows = True

    def _on_goaway(self, frame: Frame) -> None:
        if len(frame.payload) < 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)
        self.client_knows = True

    def _on_window_update(self, frame: Frame) -> None:
        increment, stream_id = int.from_bytes(frame.payload, "big") & frames.MAX_WINDOW, frame.stream_id
        if not stream_id:
            return self._queue.widen(increment)
        self._streams.refuse_idle(stream_id)
        if not increment:
            raise StreamFault(Code.PROTOCOL_ERROR)
        if stream_id in self._streams.open:
            self._queue.widen_stream(self._streams.open[stream_id], increment)

    _HANDLERS: Final[dict[int, Callable[["Control", Frame], None]]] = {
        frames.PRIORITY: _on_priority,
        frames.RST_STREAM: _on_reset,
        frames.SETTINGS: _on_settings,
        frames.PUSH_PROMISE: _on_push,
        frames.PING: _on_ping,
        frames.GOAWAY: _on_goaway,
        frames.WINDOW_UPDATE: _on_window_update,
    }
