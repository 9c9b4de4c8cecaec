"""Frames as they travel (RFC 9113, 4 and 6), and the two ways in which one can be wrong."""

import base64
import struct
import time
from enum import IntEnum
from typing import Final, NamedTuple

from podkit.limits import Limits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_PAYLOAD: Final = 16_384  # bytes of a frame; what every peer has to take, and all that we take
MAX_WINDOW: Final = (1 << 31) - 1
DEFAULT_WINDOW: Final = 65_535

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
HAS_PRIORITY: Final = 0x20

_HEAD: Final = struct.Struct(">HBBBL")  # the length's 24 bits in two, the kind, the flags, the stream
_SETTING: Final = struct.Struct(">HL")
_HEAD_SIZE: Final = 9


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    """What the two sides tell each other about themselves."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(Exception):
    """What is wrong ends the connection."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class StreamFault(ConnectionFault):
    """What is wrong ends the stream, and nothing else."""


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class FrameReader:
    """Splits what comes behind the preface, in any pieces, into frames."""

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._preface = PREFACE  # what is left of it to come
        self.began = 0.0  # when something did that has not ended, but for DATA (monotonic seconds)
        self.data_stream = 0  # whose DATA has begun and not ended

    def __len__(self) -> int:
        """The bytes that wait."""
        return len(self._data) - self._position

    @property
    def has_begun(self) -> bool:
        """Whether the preface is over."""
        return not self._preface

    def feed(self, data: bytes) -> None:
        """More bytes have come."""
        left = self._data[self._position :]
        self._data = left + data if left else bytes(data)
        self._position = 0

    def next(self) -> Frame | None:
        """The next frame if all of it is there. Raises ConnectionFault at the start of what can't be one."""
        if self._preface and not self._pass_preface():
            return self._wait_for_more(0)
        start = self._position + _HEAD_SIZE
        if start > len(self._data):
            return self._wait_for_more(0)
        high, low, kind, flags, stream_id = _HEAD.unpack_from(self._data, self._position)
        end = start + (high << 8 | low)
        if end - start > MAX_PAYLOAD:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)
        if end > len(self._data):
            return self._wait_for_more(stream_id if kind == DATA else 0)
        self._position, self.began = end, 0.0
        return Frame(kind, flags, stream_id & MAX_WINDOW, self._data[start:end])

    def _wait_for_more(self, data_stream: int) -> Frame | None:
        self.data_stream = data_stream
        is_timed = not data_stream and (self._preface or len(self))
        self.began = (self.began or time.monotonic()) if is_timed else 0.0
        return None

    def _pass_preface(self) -> bool:
        start = self._data[: len(self._preface)]
        if not self._preface.startswith(start):
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        self._preface, self._position = self._preface[len(start) :], len(start)
        return self.has_begun


def render_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame."""
    return render_frame_head(kind, flags, stream_id, len(payload)) + payload


def render_frame_head(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """A frame's start, behind which `length` bytes of payload go."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def render_number(number: int) -> bytes:
    """32 bits, as in WINDOW_UPDATE and RST_STREAM."""
    return number.to_bytes(4, "big")


def render_settings(limits: Limits) -> bytes:
    """The payload of the SETTINGS that tell a client of our limits."""
    settings = {
        Setting.MAX_CONCURRENT_STREAMS: limits.max_streams,
        Setting.INITIAL_WINDOW_SIZE: limits.window,
        Setting.MAX_HEADER_LIST_SIZE: limits.max_head,
    }
    return b"".join([_SETTING.pack(*pair) for pair in settings.items()])


def parse_settings(payload: bytes) -> dict[int, int]:
    """The last value of each setting in the payload of SETTINGS; ConnectionFault where one is not allowed."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR)
    settings = dict(_SETTING.iter_unpack(payload))
    for name, value in _SETTING.iter_unpack(payload):
        if name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
        if name == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR)
        if name == Setting.MAX_FRAME_SIZE and not MAX_PAYLOAD <= value < 1 << 24:
            raise ConnectionFault(Code.PROTOCOL_ERROR)
    return settings


def parse_settings_header(header: bytes) -> dict[int, int]:
    """The settings in HTTP/1.1's HTTP2-Settings (RFC 7540, 3.2.1). Raises ValueError."""
    try:
        payload = base64.b64decode(header + b"=" * (-len(header) % 4), altchars=b"-_", validate=True)
        return parse_settings(payload)
    except (ValueError, ConnectionFault):
        raise ValueError("malformed HTTP2-Settings") from None


def content(frame: Frame) -> bytes:
    """The payload of DATA or HEADERS without padding and priority. Raises ConnectionFault."""
    payload, start, end = frame.payload, 0, len(frame.payload)
    if frame.flags & PADDED:
        if not payload:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)
        start, end = 1, end - payload[0]
    if frame.flags & HAS_PRIORITY and frame.kind == HEADERS:
        if end - start < 5 and not frame.flags & PADDED:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR)
        start += 5
    if start > end:
        raise ConnectionFault(Code.PROTOCOL_ERROR)
    return payload[start:end] if start or end < len(payload) else payload


def depends_on_itself(frame: Frame) -> bool:
    """Whether the priority in a PRIORITY or HEADERS frame names the frame's own stream."""
    start = 1 if frame.flags & PADDED and frame.kind == HEADERS else 0
    return int.from_bytes(frame.payload[start : start + 4], "big") & MAX_WINDOW == frame.stream_id
