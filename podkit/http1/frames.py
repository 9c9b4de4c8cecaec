"""Parses a WebSocket client's frames (RFC 6455, section 5), and refuses invalid ones as early as possible."""

import codecs
import struct
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_CONTROL: Final = 8  # the lowest control opcode
_OPCODES: Final = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_MAX_CONTROL: Final = 125  # bytes
_CODES: Final = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))
_EXTENDED: Final = {126: struct.Struct("!H"), 127: struct.Struct("!Q")}
PROTOCOL_ERROR, NOT_UTF_8, TOO_LARGE, TRY_AGAIN_LATER = 1002, 1007, 1009, 1013

_DECODER: Final = codecs.getincrementaldecoder("utf-8")


class Violation(Exception):
    """The client violated the protocol; `code` is the close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


# the opcode and payload of a complete message or a control frame; CONTINUATION for a part of a message
Message = tuple[int, bytes | bytearray]


def render_frame(opcode: int, payload: bytes | bytearray) -> bytes:
    """The header of a server's frame; the payload follows unmasked."""
    size = len(payload)
    if size <= _MAX_CONTROL:
        return bytes((0x80 | opcode, size))
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size)
    return struct.pack("!BBQ", 0x80 | opcode, 127, size)


def unmask(payload: bytes | bytearray, key: bytes) -> bytes:
    """Unmasks a payload; its first byte corresponds to the key's first."""
    size = len(payload)
    keys = key * (size // 4 + 1)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(keys[:size], "little")).to_bytes(size, "little")


class FrameReader:
    """Parses one message after another. The caller keeps the bytes; `position` marks the progress."""

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self.position = 0
        self._key = b""  # of the current frame; empty between frames
        self._opcode = 0  # of the current frame
        self._final = False
        self._missing = 0  # bytes of the current frame
        self._control = b""
        self._kind = 0  # of the message: text, binary, or none
        self._message: bytes | bytearray = bytearray()
        self._decoder = _DECODER()
        self._decodes = False  # the message is not just ASCII

    @property
    def size(self) -> int:
        """The bytes kept of a message."""
        return len(self._message)

    @property
    def inside_message(self) -> bool:
        """Whether a message has begun but not ended."""
        return self._kind != 0

    def next(self, data: bytes | bytearray, position: int) -> Message | None:
        """The next message, control frame or part of a message, if it is complete. Raises Violation."""
        self.position = position
        if not self._key and not self._read_header(data):
            return None
        end = min(len(data), self.position + self._missing)
        piece = unmask(data[self.position : end], self._key)
        self._missing -= len(piece)
        self.position = end
        self._take(piece)
        if self._missing:
            shift = len(piece) % 4
            self._key = self._key[shift:] + self._key[:shift]
            return None
        self._key = b""
        if self._opcode >= _CONTROL:
            control, self._control = self._control, b""
            return self._opcode, _check_close(control) if self._opcode == CLOSE else control
        return self._finish() if self._final else (CONTINUATION, b"")

    def _read_header(self, data: bytes | bytearray) -> bool:
        """Parses a frame header, if it is complete."""
        head = data[self.position : self.position + 14]
        if len(head) < 2:
            return False
        opcode, length = head[0] & 0x0F, head[1] & 0x7F
        if head[0] & 0x70 or opcode not in _OPCODES or not head[1] & 0x80:
            raise Violation(PROTOCOL_ERROR)
        final = bool(head[0] & 0x80)
        if opcode >= _CONTROL:
            if not final or length > _MAX_CONTROL:
                raise Violation(PROTOCOL_ERROR)
        elif (opcode == CONTINUATION) != (self._kind != 0):
            raise Violation(PROTOCOL_ERROR)
        start = 2
        if length > _MAX_CONTROL:
            extended = _EXTENDED[length]
            start += extended.size
            if len(head) < start:
                return False
            (length,) = extended.unpack_from(head, 2)
            if length + len(self._message) > self._max_message:
                raise Violation(TOO_LARGE)
        if len(head) < start + 4:
            return False
        self._opcode, self._final, self._missing = opcode, final, length
        self._key = bytes(head[start : start + 4])
        self.position += start + 4
        if opcode in (TEXT, BINARY):
            self._kind = opcode
        return True

    def _take(self, piece: bytes) -> None:
        if self._opcode >= _CONTROL:
            self._control += piece
            return
        if len(self._message) + len(piece) > self._max_message:
            raise Violation(TOO_LARGE)
        if self._kind == TEXT and (self._decodes or not piece.isascii()):
            self._decodes = True
            self._decode(piece, False)
        if self._message or self._missing or not self._final:
            self._message += piece
        else:
            self._message = piece  # complete

    def _finish(self) -> Message:
        if self._decodes:
            self._decode(b"", True)
            self._decodes = False
        message = self._kind, self._message
        self._kind, self._message = 0, bytearray()
        return message

    def _decode(self, piece: bytes, final: bool) -> None:
        try:
            self._decoder.decode(piece, final)
        except UnicodeDecodeError:
            raise Violation(NOT_UTF_8) from None


def _check_close(payload: bytes) -> bytes:
    """Checks that a close frame is empty, or has a valid code and a reason in UTF-8."""
    if payload:
        code = int.from_bytes(payload[:2])
        if len(payload) < 2 or not (code in _CODES or 3000 <= code < 5000):
            raise Violation(PROTOCOL_ERROR)
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            raise Violation(NOT_UTF_8) from None
    return payload
