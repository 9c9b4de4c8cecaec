"""Detects a connection's protocol from its first bytes."""

import asyncio
from typing import Final, cast

from podkit.connections import Connection
from podkit.http1.connection import Http1Connection
from podkit.message import Announced, Client, Request
from podkit.server import Server

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Opening(Connection):
    """Chooses a protocol by ALPN or the first bytes, then hands over the transport. `announced` came first."""

    def __init__(self, server: Server, announced: Announced | None = None) -> None:
        self._server = server
        self._announced = announced
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._client = self._server.new_client(transport)
        self._last_seen = self._client.opened
        if self._announced is not None:
            self._client.announce(self._announced)
        tls = self._client.tls
        if tls is not None and tls.alpn == "h2":
            self._become_http2(b"")
        else:
            self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client disconnected before its protocol was known."""
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """The first bytes."""
        seen = self._seen + data
        if not PREFACE.startswith(seen[: len(PREFACE)]):
            self._become_http1(seen)
        elif len(seen) >= len(PREFACE):
            self._server.connections.discard(self)
            self._become_http2(seen)
        else:
            self._seen = seen

    def eof_received(self) -> bool:
        """The client has half-closed; its input may still be an HTTP/1.1 request."""
        if not self._seen:
            return False
        return self._become_http1(self._seen).eof_received()

    def _become_http1(self, data: bytes) -> Http1Connection:
        connection = Http1Connection(self._server, self._client, _upgrade_to_http2)
        self._server.connections.discard(self)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        connection.data_received(data)
        return connection

    def _become_http2(self, data: bytes) -> None:
        from podkit.http2.connection import Http2Connection  # slow to import: only once a client speaks it

        connection = Http2Connection(self._server, self._client)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if data:
            connection.data_received(data)

    def check(self, now: float) -> None:
        """Closes a silent client as idle, and one that stops within the preface as slow."""
        age = now - self._last_seen
        if self._seen and age > self._server.limits.head_timeout:
            self._become_http1(self._seen).time_out("the request's head takes too long")
        elif age > self._server.limits.idle_timeout:
            self._transport.close()


def _upgrade_to_http2(
    server: Server, client: Client, transport: asyncio.Transport, request: Request, rest: bytes
) -> None:
    """Continues in HTTP/2 with an HTTP/1.1 request as stream 1; `rest` is the input after it.

    Raises ValueError if the request's HTTP2-Settings are malformed.
    """
    from podkit.http2.connection import Http2Connection

    connection = Http2Connection(server, client)
    connection.upgrade_from_http1(request)
    transport.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    transport.set_protocol(connection)
    connection.connection_made(transport)
    if rest:
        connection.data_received(rest)
