"""Frames on the wire (RFC 9113, 4 and 6), and the two kinds of errors."""

import base64
import struct
import time
from enum import IntEnum
from typing import Final, NamedTuple

from podkit.limits import Limits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_PAYLOAD: Final = 16_384  # bytes of a payload: what every peer must accept, and our maximum
MAX_WINDOW: Final = (1 << 31) - 1
DEFAULT_WINDOW: Final = 65_535

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
END_STREAM: Final = 0x01
ACK: Final = 0x01
END_HEADERS: Final = 0x04
PADDED: Final = 0x08
HAS_PRIORITY: Final = 0x20

_HEAD: Final = struct.Struct(">HBBBL")  # the 24-bit length in two fields, type, flags, stream
_SETTING: Final = struct.Struct(">HL")
_HEAD_SIZE: Final = 9
_MAX_SETTINGS: Final = 4 * (MAX_PAYLOAD // 3)  # bytes of a payload in Base64


class Code(IntEnum):
    """Error codes of streams and connections."""

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
    """Settings of a peer."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(Exception):
    """An error that closes the connection."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class StreamFault(ConnectionFault):
    """An error that resets the stream only."""


class Frame(NamedTuple):
    """A received frame."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class FrameReader:
    """Splits the bytes after the preface into frames."""

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._preface = PREFACE  # the part that is still missing
        self.began = 0.0  # when an incomplete frame other than DATA began (monotonic seconds)
        self.data_stream = 0  # the stream of an incomplete DATA frame

    def __len__(self) -> int:
        """The number of buffered bytes."""
        return len(self._data) - self._position

    @property
    def has_begun(self) -> bool:
        """Whether the preface is complete."""
        return not self._preface

    def feed(self, data: bytes) -> None:
        """Adds received bytes."""
        left = self._data[self._position :]
        self._data = left + data if left else bytes(data)
        self._position = 0

    def next(self) -> Frame | None:
        """The next frame, if complete. Raises ConnectionFault as soon as a frame is invalid."""
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
        self._data, self._position = self._data[self._position :], 0  # what was read is not kept
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
    """Renders a frame."""
    return render_frame_head(kind, flags, stream_id, len(payload)) + payload


def render_frame_head(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Renders the header of a frame with `length` bytes of payload."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def render_number(number: int) -> bytes:
    """A 32-bit number, as in WINDOW_UPDATE and RST_STREAM."""
    return number.to_bytes(4, "big")


def render_settings(limits: Limits) -> bytes:
    """The payload of our SETTINGS frame."""
    settings = {
        Setting.MAX_CONCURRENT_STREAMS: limits.max_streams,
        Setting.INITIAL_WINDOW_SIZE: limits.window,
        Setting.MAX_HEADER_LIST_SIZE: limits.max_head,
    }
    return b"".join([_SETTING.pack(*pair) for pair in settings.items()])


def parse_settings(payload: bytes) -> dict[int, int]:
    """The last value of each setting in a SETTINGS payload; ConnectionFault if one is invalid."""
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
    """The settings in an HTTP2-Settings header of HTTP/1.1 (RFC 7540, 3.2.1). Raises ValueError."""
    if len(header) > _MAX_SETTINGS:
        raise ValueError("malformed HTTP2-Settings")
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
    """Whether the priority in a PRIORITY or HEADERS frame names its own stream."""
    start = 1 if frame.flags & PADDED and frame.kind == HEADERS else 0
    return int.from_bytes(frame.payload[start : start + 4], "big") & MAX_WINDOW == frame.stream_id
