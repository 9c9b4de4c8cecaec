"""TLS between a socket and any protocol, on pyOpenSSL.

Python's own ``ssl`` can't ask a client for a certificate that it does not verify. And the event loops' TLS
can't end one direction alone, nor tell a client by an alert why it is refused.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from OpenSSL import SSL, crypto

from podkit.message import Tls
from podkit.tls.certificates import Certificates
from podkit.tls.subject import read_subject, render_subject

HANDSHAKE_TIMEOUT: Final = 10.0  # seconds
LINGER: Final = 1.0  # seconds to read on after a refusal, so that the client gets to see it
QUIET: Final = 0.3  # seconds without a byte before a draining server gives up on a handshake

_RECORD: Final = 16 * 1024  # bytes; the most that TLS decrypts at once
_BLOCK: Final = 64 * 1024  # bytes to encrypt at once
_ENCRYPTED: Final = _BLOCK + 1024  # bytes that they become, at most
_PLAIN_HTTP: Final = (b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO")
_PLAIN_ANSWER: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class TlsListener:
    """A protocol factory: each connection gets a protocol of `build_protocol` once its handshake is done."""

    def __init__(self, certificates: Certificates, build_protocol: Callable[[], asyncio.Protocol]) -> None:
        self.certificates = certificates
        self.build_protocol = build_protocol
        self.handshakes: set[TlsConnection] = set()

    def __call__(self) -> "TlsConnection":
        return TlsConnection(self)

    async def settle(self, grace_period: float) -> None:
        """Wait for the handshakes under way, for at most `grace_period` seconds, and for no silent client."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_period
        while self.handshakes and loop.time() < deadline:
            for connection in tuple(self.handshakes):
                connection.abort_if_quiet()
            await asyncio.sleep(0.02)


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """A client's connection: a protocol to the socket's transport, and a transport to the protocol above.

    Its extra information: ``peer_subjects``, the subjects of the client's certificates, its own first;
    ``alpn_protocol``, as bytes, empty where none was agreed on; and what the socket's transport has.
    """

    def __init__(self, listener: TlsListener) -> None:
        super().__init__()
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._tls = SSL.Connection(listener.certificates.context())
        self._tls.set_accept_state()
        self._above: asyncio.Protocol | None = None
        self._info: dict[str, Any] = {}
        self._opening = b""
        self._refused = self._closing = self._paused = self._ended = self._has_sent_all = False

    # from the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected; it has to shake hands in time."""
        self._below = cast(asyncio.Transport, transport)  # uvloop's transports are no instances of it
        self._last_seen = self._loop.time()
        self._timer = self._loop.call_later(HANDSHAKE_TIMEOUT, self._below.abort)
        self._listener.handshakes.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._last_seen = self._loop.time()
        if self._refused:
            return
        if self._above is None:
            self._opening = (self._opening + data[:5])[:5]
            if self._opening in _PLAIN_HTTP:
                self._refuse(_PLAIN_ANSWER)
                return
        self._tls.bio_write(data)
        if self._above is None:
            self._shake_hands()
        self._deliver()

    def eof_received(self) -> bool:
        """The client has sent all, with or without saying so in TLS."""
        if self._above is None:
            return False
        self._end()
        return not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._timer.cancel()
        self._listener.handshakes.discard(self)
        self._closing = True
        if self._above is not None:
            self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        """The socket is full."""
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes more."""
        if self._above is not None:
            self._above.resume_writing()

    # the handshake

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
            subjects = _peer_subjects(self._tls)
        except SSL.WantReadError:
            self._flush()
            return
        except (SSL.Error, ValueError):  # ValueError: a subject beyond what Go reads
            self._flush()
            self._refuse(b"")
            return
        self._flush()
        self._timer.cancel()
        self._listener.handshakes.discard(self)
        alpn = self._tls.get_alpn_proto_negotiated().decode()
        self._info = {"tls": Tls("", "", alpn, "", subjects, ())}
        self._above = self._listener.build_protocol()
        self._above.connection_made(self)

    def _refuse(self, answer: bytes) -> None:
        """Say why, and read on for a moment: unread bytes would make the kernel reset the connection."""
        self._refused = True
        self._below.write(answer)
        if self._below.can_write_eof():
            self._below.write_eof()
        self._loop.call_later(LINGER, self._below.abort)

    def abort_if_quiet(self) -> None:
        """Give up on a client that has not sent anything for a moment."""
        if self._loop.time() - self._last_seen > QUIET:
            self._below.abort()

    # to the protocol above

    def _deliver(self) -> None:
        while self._above is not None and not (self._paused or self._closing):
            try:
                data = self._tls.recv(_RECORD)
            except SSL.WantReadError:
                self._flush()  # a warning that answers a renegotiation must not pile up
                break
            except SSL.ZeroReturnError:
                self._end()
                break
            except SSL.Error:  # OpenSSL has written the alert
                self._flush()
                self._closing = True
                self._below.close()
                break
            self._above.data_received(data)

    def _end(self) -> None:
        """The protocol above may answer what it was asked, or end the connection."""
        if not self._ended and self._above is not None:
            self._ended = True
            if not self._above.eof_received():
                self.close()

    # from the protocol above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._closing or self._has_sent_all:
            return
        view = memoryview(data)
        for start in range(0, len(view), _BLOCK):
            self._tls.sendall(view[start : start + _BLOCK])
            self._flush()

    def _flush(self) -> None:
        """Pass on what OpenSSL has to send."""
        size = _ENCRYPTED
        with suppress(SSL.WantReadError):  # there is nothing more
            while size == _ENCRYPTED:
                data = self._tls.bio_read(_ENCRYPTED)
                size = len(data)
                self._below.write(data)

    def can_write_eof(self) -> bool:
        """TLS can end one direction alone."""
        return True

    def write_eof(self) -> None:
        """No more is to be sent; the client may still send."""
        if not (self._closing or self._has_sent_all):
            self._has_sent_all = True
            with suppress(SSL.Error):
                self._tls.shutdown()
            self._flush()
            if self._below.can_write_eof():
                self._below.write_eof()

    def close(self) -> None:
        """End the connection once all is sent."""
        if not self._closing:
            if not self._has_sent_all:
                with suppress(SSL.Error):
                    self._tls.shutdown()
                self._flush()
            self._closing = True
            self._below.close()

    def abort(self) -> None:
        """End the connection now."""
        self._closing = True
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether the connection is ending or gone."""
        return self._closing or self._below.is_closing()

    def pause_reading(self) -> None:
        """Deliver no more for now."""
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, first what was decrypted before the pause."""
        if self._paused and not self._closing:
            self._paused = False
            self._below.resume_reading()
            self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set these marks."""
        self._below.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol above."""
        assert self._above is not None
        return self._above

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Put another protocol above."""
        assert isinstance(protocol, asyncio.Protocol)
        self._above = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ours, or the socket transport's."""
        return self._info[name] if name in self._info else self._below.get_extra_info(name, default)


def _peer_subjects(tls: SSL.Connection) -> tuple[str, ...]:
    leaf = tls.get_peer_certificate()
    chain: list[crypto.X509] = tls.get_peer_cert_chain() or []  # on a server, without the leaf
    sent = [leaf, *chain] if leaf else []
    return tuple(render_subject(read_subject(crypto.dump_certificate(crypto.FILETYPE_ASN1, c))) for c in sent)
