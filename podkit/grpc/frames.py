"""Messages as they travel in a call's body, each behind a prefix.

The source is gRPC's description of itself: PROTOCOL-HTTP2.md and compression.md in its `doc`.
"""

import struct
import zlib
from typing import Final

from podkit.grpc.call import RpcError, Status

ACCEPT_ENCODING: Final = b"identity,gzip"  # the value of grpc-accept-encoding that a reply carries
_PREFIX: Final = struct.Struct(">BI")  # the compressed flag, and the length in bytes
_MAX_MESSAGE: Final = 4 << 20  # bytes; what gRPC's libraries take by default


def frame(message: bytes) -> bytes:
    """A message as it travels: uncompressed, behind its length."""
    return _PREFIX.pack(0, len(message)) + message


class Frames:
    """Splits what arrives in any pieces into messages, decompressed."""

    def __init__(self, encoding: bytes = b"identity", max_message: int = _MAX_MESSAGE) -> None:
        self._encoding = encoding
        self._max_message = max_message
        self._buffer = bytearray()

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes; RpcError where the call must end, after which all is over."""
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(buffer, start)
            self._check(compressed, length)
            end = start + _PREFIX.size + length
            if end > len(buffer):
                break
            message = bytes(buffer[start + _PREFIX.size : end])
            messages.append(self._decompress(message) if compressed else message)
            start = end
        del buffer[:start]
        return messages

    def _check(self, compressed: int, length: int) -> None:
        if compressed > 1:
            raise RpcError(Status.INTERNAL, f"invalid compressed flag {compressed}")
        if compressed and self._encoding == b"identity":
            raise RpcError(Status.INTERNAL, "a compressed message without a grpc-encoding")
        if compressed and self._encoding != b"gzip":
            encoding = self._encoding.decode("latin-1")
            raise RpcError(
                Status.UNIMPLEMENTED, f"grpc-encoding {encoding} is not served: use identity or gzip"
            )
        if length > self._max_message:
            raise self._too_large()

    def _decompress(self, data: bytes) -> bytes:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's head
        try:
            message = inflater.decompress(data, self._max_message + 1)
        except zlib.error:
            raise RpcError(Status.INTERNAL, "a message that is no gzip") from None
        if len(message) > self._max_message:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise RpcError(Status.INTERNAL, "a gzip message that is cut off, or has more behind it")
        return message

    def _too_large(self) -> RpcError:
        return RpcError(Status.RESOURCE_EXHAUSTED, f"a message of more than {self._max_message} bytes")
