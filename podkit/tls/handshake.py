"""The TLS handshake: identifies the client and chooses the protocol above."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from OpenSSL import SSL

from podkit.budget import Share
from podkit.connections import Connection
from podkit.kernel import end_output
from podkit.message import Tls
from podkit.server import Server
from podkit.tls.certificates import Certificates
from podkit.tls.connection import TlsConnection
from podkit.tls.engine import flush
from podkit.tls.facts import Chains, read_facts
from podkit.tls.records import CHANGE_CIPHER_SPEC, record_end

_HELD: Final = 24 << 10  # bytes that OpenSSL holds only during a handshake
_PARSED: Final = 4  # memory for certificates, relative to their length
_RECORDS: Final = 256  # records of a handshake, whose messages may be split into 512 bytes each (RFC 6066, 4)
_PLAIN_HTTP: Final = (b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO")
_PLAIN_ANSWER: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class TlsProtocolFactory:
    """Each connection gets a protocol from `build_protocol` once its handshake is finished.

    Handshake steps are the most expensive work that clients can request. So a limited number run per loop
    iteration, and the others wait in order of arrival.
    """

    def __init__(
        self, server: Server, certificates: Certificates, build_protocol: Callable[..., asyncio.Protocol]
    ) -> None:
        self.server = server
        self.certificates = certificates
        self.build_protocol = build_protocol
        self.chains = Chains()
        self._most = self._left = server.limits.turn_handshakes
        self._queue: deque[Handshake] = deque()

    def __call__(self, *facts: Any) -> asyncio.Protocol:
        """A protocol for a new connection. `facts` are passed on to `build_protocol`."""
        return Handshake(self, partial(self.build_protocol, *facts))

    def may_go_on(self, handshake: "Handshake") -> bool:
        """Whether a handshake may take a step now; otherwise it is called when its turn comes."""
        if not self._left:
            self._queue.append(handshake)
            return False
        self._take_turn()
        return True

    def _take_turn(self) -> None:
        if self._left == self._most:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._left -= 1

    def _next_turn(self) -> None:
        self._left = self._most
        while self._queue and self._left:
            self._take_turn()
            self._queue.popleft().go_on()


class Handshake(Connection):
    """A connection of the server until its handshake is finished or refused."""

    def __init__(self, factory: TlsProtocolFactory, build_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._factory = factory
        self._build_protocol = build_protocol
        self._server = factory.server
        self._room = Share(self._server.room)
        self._share = Share(self._server.budget)
        self._waiting = b""  # received, but not processed yet
        self._queued = False
        self._size = self._records = 0
        self._tls: SSL.Connection | None = None
        self._over = False  # refused or lost
        self._since = self._last_seen = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._room.resize(self._server.limits.tls_cost):
            self._over = True
            self._transport.close()
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected."""
        self._over = True
        self._server.connections.discard(self)
        self._share.resize(0)
        self._room.resize(0)

    def data_received(self, data: bytes) -> None:
        """Records of the handshake, and any data that follows them."""
        if self._over:
            return
        self._waiting += data
        if not self._records and self._waiting.startswith(_PLAIN_HTTP):
            self._refuse(_PLAIN_ANSWER)
        elif not self._queued and record_end(self._waiting, 0) <= len(self._waiting):
            if self._factory.may_go_on(self):
                self._step()
            elif self._share.resize(self._share.size + len(self._waiting)):
                self._queued = True
                self._transport.pause_reading()
            else:
                self._refuse()

    def go_on(self) -> None:
        """The turn of a queued handshake has come."""
        self._queued = False
        if not self._over and not self._transport.is_closing():
            self._transport.resume_reading()
            self._step()

    def _step(self) -> None:
        """Processes the received records."""
        waiting, start, facts = self._waiting, 0, None
        try:
            while facts is None and (end := record_end(waiting, start)) <= len(waiting):
                facts, start = self._shake_hands(waiting[start:end]), end
        except (SSL.Error, ValueError):
            if self._tls is not None:
                flush(self._tls, self._transport)  # OpenSSL has written the alert
            self._refuse()
            return
        self._waiting = waiting[start:]
        if facts is not None:
            self._open(facts)

    def _shake_hands(self, record: bytes) -> Tls | None:
        """Continues the handshake; returns its facts at the end. ValueError or SSL.Error for a refusal."""
        self._last_seen = time.monotonic()
        self._records += 1
        self._size += len(record)
        if self._size > self._server.limits.max_handshake or self._records > _RECORDS:
            raise ValueError("the handshake is too long")
        self._charge(_HELD + _PARSED * self._size)
        if self._tls is None:
            self._tls = SSL.Connection(self._factory.certificates.context())
            self._tls.set_accept_state()
        self._tls.bio_write(record)
        if record[0] == CHANGE_CIPHER_SPEC:  # it means nothing without the following record
            return None
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            flush(self._tls, self._transport)
            return None
        facts = read_facts(self._tls, self._factory.chains)
        flush(self._tls, self._transport)
        self._charge(_PARSED * sum(map(len, facts.certificates)) + sum(map(len, facts.subjects)))
        return facts

    def _charge(self, size: int) -> None:
        if not self._share.resize(size):
            raise ValueError("there is no memory left for the client's certificates")

    def _open(self, facts: Tls) -> None:
        assert self._tls is not None
        self._server.connections.discard(self)
        connection = TlsConnection(self._server, self._tls, facts, (self._room, self._share))
        self._transport.set_protocol(connection)
        connection.open(self._transport, self._build_protocol())
        if self._waiting:
            connection.data_received(self._waiting)

    def _refuse(self, answer: bytes = b"") -> None:
        """Sends a reason, and keeps reading briefly: unread bytes make the kernel reset the connection."""
        self._over, self._since = True, time.monotonic()
        self._waiting = b""
        self._transport.write(answer)
        if self._transport.can_write_eof():
            end_output(self._transport)

    # calls by the server

    def check(self, now: float) -> None:
        """Closes a handshake, or a refusal, that takes too long."""
        limits = self._server.limits
        if now - self._since > (limits.linger if self._over else limits.head_timeout):
            self._transport.abort()

    def close_if_quiet(self, since: float) -> None:
        """Closes if the client has not continued its handshake for a moment."""
        if not self._queued and self._last_seen < since:
            self._transport.abort()
