"""A header block while its frames arrive (RFC 9113, 4.3)."""

import time

from podkit.http2 import frames
from podkit.http2.allowance import Allowance
from podkit.http2.frames import Code, ConnectionFault, Frame
from podkit.limits import Limits


class HeaderBlock:
    """One at a time: no other frame may come between its own."""

    def __init__(self, limits: Limits, allowance: Allowance) -> None:
        self._max_size = limits.max_head
        self._allowance = allowance
        self.first: Frame | None = None  # the HEADERS frame of an incomplete block
        self._data = bytearray()
        self.began = 0.0  # when it began (monotonic seconds); 0 if there is none

    def __len__(self) -> int:
        """The bytes of an incomplete block."""
        return len(self._data)

    def add(self, frame: Frame) -> tuple[Frame, bytes] | None:
        """Adds HEADERS or CONTINUATION; returns the first frame and the block once that is complete.

        Raises ConnectionFault.
        """
        first, ends = self.first, frame.flags & frames.END_HEADERS
        if first is None:
            if not frame.stream_id & 1 or frame.kind == frames.CONTINUATION:
                raise ConnectionFault(Code.PROTOCOL_ERROR)
            content = frames.content(frame)
            if ends:
                return frame, content
            self.first, self._data, self.began = frame, bytearray(content), time.monotonic()
            return None
        self._allowance.spend()
        self._data += frame.payload
        if len(self._data) > self._max_size:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM)
        if not ends:
            return None
        block = bytes(self._data)
        self.first, self._data, self.began = None, bytearray(), 0.0
        return first, block
