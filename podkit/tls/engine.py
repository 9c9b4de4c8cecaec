"""OpenSSL's part of an open connection: encrypts and decrypts records."""

import asyncio
from contextlib import suppress
from typing import Final

from OpenSSL import SSL

from podkit.budget import Share
from podkit.tls.records import LONGEST, MOST_CONTENT

SMALL: Final = 4 << 10  # bytes per call that a connection's cost covers
_GROWN: Final = 40 << 10  # growth of OpenSSL's buffers, in bytes, when they get whole records
_OVERHEAD: Final = 512  # bytes: more than a record's overhead, and a short TLS message before it


class Engine:
    """OpenSSL's buffers never shrink.

    So `share` is charged when a connection first needs whole records; if the budget is exhausted, large records
    are processed in pieces.
    """

    def __init__(self, tls: SSL.Connection, share: Share) -> None:
        self._tls = tls
        self._share = share
        self._most = SMALL  # bytes to pass to OpenSSL at once
        # bound once, because pyOpenSSL makes each attribute access slow
        self._put, self._receive, self._send, self._take = tls.bio_write, tls.recv, tls.send, tls.bio_read

    def decrypt(self, record: bytes) -> bytes:
        """The content of a record. Raises OpenSSL's errors; WantReadError for a TLS message."""
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
                self._receive(MOST_CONTENT)  # moves the piece to a buffer that is freed
        return record[end:]

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """A record for at most SMALL bytes, and at least one."""
        self._send(data)
        return self._take(len(data) + _OVERHEAD)

    def encrypt_all(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The records for any number of bytes."""
        most, view = min(self._grow(), MOST_CONTENT), memoryview(data)
        return [self.encrypt(view[start : start + most]) for start in range(0, len(view), most)]

    def _grow(self) -> int:
        if self._most == SMALL and self._share.resize(_GROWN):
            self._most = LONGEST
        return self._most

    def end(self, transport: asyncio.Transport) -> None:
        """Sends close_notify."""
        with suppress(SSL.Error):
            self._tls.shutdown()
        flush(self._tls, transport)

    def flush(self, transport: asyncio.Transport) -> bool:
        """Sends TLS messages; returns whether there were any."""
        return flush(self._tls, transport)


def flush(tls: SSL.Connection, transport: asyncio.Transport) -> bool:
    """Sends OpenSSL's output; returns whether there was any."""
    size, found = MOST_CONTENT, False
    with suppress(SSL.WantReadError):  # there is no more
        while size == MOST_CONTENT:
            data = tls.bio_read(MOST_CONTENT)
            transport.write(data)
            size, found = len(data), True
    return found
