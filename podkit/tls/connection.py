"""TLS between a socket and any protocol, on pyOpenSSL.

Python's own ``ssl`` cannot request a client certificate without verifying it. And the event loops' TLS cannot
half-close, nor tell a client by an alert why it is refused.
"""

import asyncio
import time
from enum import Enum
from typing import Any, Final

from OpenSSL import SSL

from podkit.budget import Share
from podkit.message import Tls
from podkit.server import Server
from podkit.tls.engine import SMALL, Engine
from podkit.tls.records import LONGEST, record_end
from podkit.turns import Turn

_UNREAD: Final = 128 << 10  # bytes owed to a client that makes TLS itself answer


class _State(Enum):
    OPEN = "both may send"
    CLIENT_ENDED = "the client sends no more"
    SERVER_ENDED = "the server sends no more"
    CLOSED = "ending or gone"


# looked up once: each record needs them, and attribute access on an Enum is slow
_OPEN, _CLIENT_ENDED, _SERVER_ENDED, _CLOSED = _State


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """A client's connection: a protocol for the socket's transport, and a transport for the protocol above.

    Its extra information: ``tls``, the handshake's facts as a `podkit.message.Tls`; and that of the socket's
    transport. `held` is already charged; everything is returned when the connection closes.
    """

    def __init__(self, server: Server, tls: SSL.Connection, facts: Tls, held: tuple[Share, ...]) -> None:
        super().__init__()
        self._turns, self._turn_records = server.turns, server.limits.turn_records
        self._facts = facts
        self._share = Share(server.budget)  # for waiting data
        buffers = Share(server.budget)
        self._held = (*held, self._share, buffers)
        self._engine = Engine(tls, buffers)
        self._decrypt, self._encrypt = self._engine.decrypt, self._engine.encrypt
        self._state = _OPEN
        self._waiting = b""  # received, but not decrypted yet
        self._paused = False  # by the protocol above
        self._turn: Turn | None = None  # resumes after the other connections' turns

    def open(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """Starts to relay between the socket's transport and the protocol above."""
        self._below, self._above = transport, protocol
        protocol.connection_made(self)

    # callbacks of the socket

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is lost."""
        self._state = _CLOSED
        if self._turn is not None:
            self._turn.cancel()
        del self._engine, self._decrypt, self._encrypt  # OpenSSL's memory, else kept by a cycle
        for share in self._held:
            share.resize(0)
        above, self._above = self._above, asyncio.Protocol()  # breaks the reference cycle
        above.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if not self._waiting and self._state is _OPEN and record_end(data, 0) == len(data):
            return self._receive(data)  # a complete record, the usual case
        self._waiting = self._waiting + data if self._waiting else data
        if self._turn is None:
            if self._turns.is_full:
                self._put_off()
                return self._charge()
            start = time.monotonic()
            self._work()
            self._turns.spend(time.monotonic() - start)

    def eof_received(self) -> bool:
        """The client has half-closed, with or without a TLS alert."""
        self._end_input()
        return self._state is _CLIENT_ENDED

    def pause_writing(self) -> None:
        """The socket is full."""
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._above.resume_writing()

    # records

    def _work(self) -> None:
        """Decrypts input; what exceeds a turn waits for the other connections' turns."""
        waiting, start = self._waiting, 0
        for _ in range(self._turn_records):
            end = record_end(waiting, start)
            if end > len(waiting) or self._paused:
                break
            if self._state is not _OPEN and self._state is not _SERVER_ENDED:
                start = len(waiting)
                break
            record, start = waiting[start:end], end
            self._receive(record)
        else:
            self._put_off()
        self._waiting = waiting[start:]
        if len(self._waiting) > LONGEST:
            self._charge()

    def _put_off(self) -> None:
        """Leaves the rest to the next turn."""
        if not self.is_closing():
            self._below.pause_reading()
        self._turn = self._turns.put_off(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._work()
        self._charge()
        if self._turn is None and not self._paused and not self.is_closing():
            self._below.resume_reading()

    def _charge(self) -> None:
        """Charges waiting input: a connection's cost covers only one record."""
        if not self._share.resize(len(self._waiting) if len(self._waiting) > LONGEST else 0):
            self.abort()

    def _receive(self, record: bytes) -> None:
        try:
            data = self._decrypt(record)
        except SSL.WantReadError:  # it was a TLS message, which may need an answer
            if self._engine.flush(self._below) and self._below.get_write_buffer_size() > _UNREAD:
                self.abort()
        except SSL.ZeroReturnError:
            self._end_input()
        except SSL.Error:
            self._engine.flush(self._below)  # OpenSSL has written the alert
            self._state = _CLOSED
            self._below.close()
        else:
            self._above.data_received(data)

    def _end_input(self) -> None:
        """Signals the end of input to the protocol above, which may still answer or close."""
        state = self._state
        if state is _OPEN or state is _SERVER_ENDED:
            if state is _OPEN:
                self._state = _CLIENT_ENDED
            if not self._above.eof_received() or state is _SERVER_ENDED:
                self.close()

    # calls by the protocol above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypts and sends."""
        state = self._state
        if state is not _OPEN and state is not _CLIENT_ENDED:
            return
        if 0 < len(data) <= SMALL:
            self._below.write(self._encrypt(data))
        else:
            self._below.writelines(self._engine.encrypt_all(data))

    def can_write_eof(self) -> bool:
        """TLS supports half-closing."""
        return True

    def write_eof(self) -> None:
        """Ends the output; the client may still send."""
        if self._state is _CLIENT_ENDED:
            self.close()
        elif self._state is _OPEN:
            self._engine.end(self._below)
            self._state = _SERVER_ENDED
            if self._below.can_write_eof():
                self._below.write_eof()

    def close(self) -> None:
        """Closes the connection once everything is sent."""
        if self._state is not _CLOSED:
            if self._state is _OPEN or self._state is _CLIENT_ENDED:
                self._engine.end(self._below)
            self._state = _CLOSED
            self._below.close()

    def abort(self) -> None:
        """Closes the connection now."""
        self._state = _CLOSED
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._state is _CLOSED or self._below.is_closing()

    def pause_reading(self) -> None:
        """Stops delivering input."""
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Resumes delivery, starting with input from before the pause."""
        if self._paused and not self.is_closing():
            self._paused = False
            if self._turn is None:
                self._turn = self._turns.put_off(self._next_turn)

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets the limits of the socket's transport."""
        self._below.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol above."""
        return self._above

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replaces the protocol above."""
        assert isinstance(protocol, asyncio.Protocol)
        self._above = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Our information, or the socket transport's."""
        return self._facts if name == "tls" else self._below.get_extra_info(name, default)
