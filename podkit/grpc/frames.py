"""The framing of messages in a call's body.

Sources: PROTOCOL-HTTP2.md and compression.md in the `doc` folder of gRPC.
"""

import struct
import zlib
from typing import Final

from podkit.grpc.call import RpcError, Status
from podkit.limits import Limits

ACCEPT_ENCODING: Final = b"identity,gzip"  # the value of grpc-accept-encoding that a reply carries
PREFIX_SIZE: Final = 5
_PREFIX: Final = struct.Struct(">BI")  # the compressed flag, and the length in bytes
_EMPTY: Final = bytes(PREFIX_SIZE)


def frame(message: bytes) -> bytes:
    """Frames an uncompressed message."""
    return _PREFIX.pack(0, len(message)) + message


def read_only_message(body: bytes | bytearray, encoding: bytes, max_message: int) -> bytes:
    """The only message of a body; RpcError if there is not exactly one, before anything is decompressed."""
    if body == _EMPTY:
        return b""
    if not body:
        raise RpcError(Status.UNKNOWN, "EOF")  # as in the original
    frames = Frames(encoding, max_message)
    frames.feed(body)
    if not frames.has_next():
        raise RpcError(Status.INTERNAL, "the request message is truncated")
    if len(frames) > frames.next_size:
        raise RpcError(Status.UNIMPLEMENTED, "the method takes one request, but got more")
    return frames.pop()


class Frames:
    """Splits a byte stream into messages, and decompresses each when it is popped.

    Raises RpcError if the call must end. `max_message` is in bytes and applies to a message both compressed and
    decompressed. The length is the number of buffered bytes.
    """

    def __init__(self, encoding: bytes = b"identity", max_message: int = Limits().max_call_message) -> None:
        self._encoding = encoding
        self._max_message = max_message
        self._buffer = bytearray()
        self.next_size = 0  # bytes of the next message with its prefix, once `has_next` knows it

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes | bytearray) -> None:
        """Adds received bytes."""
        self._buffer += data

    def has_next(self) -> bool:
        """Whether a complete message is available."""
        if len(self._buffer) < PREFIX_SIZE:
            return False
        compressed, length = _PREFIX.unpack_from(self._buffer)
        self._check(compressed, length)
        self.next_size = PREFIX_SIZE + length
        return self.next_size <= len(self._buffer)

    def pop(self) -> bytes:
        """Returns the next message; call `has_next` first."""
        message, compressed = bytes(self._buffer[PREFIX_SIZE : self.next_size]), self._buffer[0]
        del self._buffer[: self.next_size]
        return self._decompress(message) if compressed else message

    def _check(self, compressed: int, length: int) -> None:
        if compressed > 1:
            raise RpcError(Status.INTERNAL, f"invalid compressed flag {compressed}")
        if compressed and self._encoding == b"identity":
            raise RpcError(Status.INTERNAL, "a compressed message without a grpc-encoding header")
        if compressed and self._encoding != b"gzip":
            encoding = self._encoding.decode("latin-1")
            raise RpcError(
                Status.UNIMPLEMENTED, f"grpc-encoding {encoding} is not served: use identity or gzip"
            )
        if length > self._max_message:
            raise self._too_large()

    def _decompress(self, data: bytes) -> bytes:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: gzip format
        try:
            message = inflater.decompress(data, self._max_message + 1)
        except zlib.error:
            raise RpcError(Status.INTERNAL, "the message is not valid gzip") from None
        if len(message) > self._max_message:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise RpcError(Status.INTERNAL, "the gzip message is truncated or has trailing data")
        return message

    def _too_large(self) -> RpcError:
        return RpcError(Status.RESOURCE_EXHAUSTED, f"a message of more than {self._max_message} bytes")
