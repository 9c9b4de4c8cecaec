"""OpenSSL's part of an open connection: bytes into records, and records into bytes."""

import asyncio
from contextlib import suppress
from typing import Final

from OpenSSL import SSL

from podkit.budget import Share
from podkit.tls.records import LONGEST, MOST_CONTENT

SMALL: Final = 4 << 10  # bytes at once that the cost of a connection covers
_GROWN: Final = 40 << 10  # bytes that OpenSSL's buffers grow by when they get whole records
_OVERHEAD: Final = 512  # bytes: more than a record's own, and a short message of TLS's before it


class Engine:
    """OpenSSL's buffers keep the size that they once had.

    So `share` is charged when a connection first needs whole records; where it lacks the bytes, large records
    go through in pieces.
    """

    def __init__(self, tls: SSL.Connection, share: Share) -> None:
        self._tls = tls
        self._share = share
        self._most = SMALL  # bytes to hand to OpenSSL at once
        # bound here, since pyOpenSSL makes each look at its attributes slow
        self._put, self._receive, self._send, self._take = tls.bio_write, tls.recv, tls.send, tls.bio_read

    def decrypt(self, record: bytes) -> bytes:
        """What a record holds. Raises OpenSSL's errors; WantReadError for a message of TLS's own."""
        if len(record) > self._most:
            record = self._put_all_but_the_end(record)
        self._put(record)
        return self._receive(MOST_CONTENT)

    def _put_all_but_the_end(self, record: bytes) -> bytes:
        most = self._grow()
        end = (len(record) - 1) // most * most
        for start in range(0, end, most):
            self._put(record[start : start + most])
            with suppress(SSL.WantReadError):
                self._receive(MOST_CONTENT)  # moves the piece on to a buffer that is given back
        return record[end:]

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """The record that holds at most SMALL bytes, and at least one."""
        self._send(data)
        return self._take(len(data) + _OVERHEAD)

    def encrypt_all(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The records that hold any number of bytes."""
        most, view = min(self._grow(), MOST_CONTENT), memoryview(data)
        return [self.encrypt(view[start : start + most]) for start in range(0, len(view), most)]

    def _grow(self) -> int:
        if self._most == SMALL and self._share.resize(_GROWN):
            self._most = LONGEST
        return self._most

    def end(self, transport: asyncio.Transport) -> None:
        """Say that nothing follows."""
        with suppress(SSL.Error):
            self._tls.shutdown()
        flush(self._tls, transport)

    def flush(self, transport: asyncio.Transport) -> bool:
        """Pass on messages of TLS's own; whether there were any."""
        return flush(self._tls, transport)


def flush(tls: SSL.Connection, transport: asyncio.Transport) -> bool:
    """Pass on what OpenSSL has to send; whether that was anything."""
    size, found = MOST_CONTENT, False
    with suppress(SSL.WantReadError):  # there is nothing more
        while size == MOST_CONTENT:
            data = tls.bio_read(MOST_CONTENT)
            transport.write(data)
            size, found = len(data), True
    return found
