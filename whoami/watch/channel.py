"""Requests over HTTP/2 to one target, on as few connections as possible."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

from whoami.watch.connection import Http2Connection, NotTakenError, Response
from whoami.watch.outcome import Lost, LostError, NotSpokenError
from whoami.watch.target import Target

_MOST_CONNECTIONS: Final = 500
_ATTEMPTS: Final = 3  # for a request that a closing connection did not process
_NO_PROTOCOL: Final = "no application protocol"  # OpenSSL's text for the alert of RFC 7301


class Channel:
    """Sends requests on one connection, and opens another when that accepts no more."""

    def __init__(self, target: Target) -> None:
        self.connections = 0
        self._target = target
        self._tls = target.tls("h2")
        self._open: list[Http2Connection] = []
        self._opening = asyncio.Lock()

    async def request(
        self, method: str, path: str, fields: Sequence[tuple[str, str]], body: bytes = b""
    ) -> Response:
        """The answer, with at most LIMIT bytes of its body. Raises OSError, LostError and NotSpokenError."""
        url = self._target.url
        authority = url.host_port_subcomponent or ""
        head = [(":method", method), (":scheme", url.scheme), (":authority", authority), (":path", path)]
        for _ in range(_ATTEMPTS):
            connection = await self._find()
            try:
                return await connection.exchange([*head, *fields], body)
            except NotTakenError:
                continue
        raise LostError(Lost.RESET, "the peer accepts no requests")

    def close(self) -> None:
        """Closes each connection gracefully."""
        for connection in self._open:
            connection.close()

    async def _find(self) -> Http2Connection:
        async with self._opening:
            self._open = [each for each in self._open if not each.closed]
            for connection in self._open:
                if connection.has_room:
                    return connection
            if len(self._open) >= _MOST_CONNECTIONS:
                raise LostError(Lost.OTHER, "the peer allows too few requests on a connection")
            connection = await self._connect()
            self._open.append(connection)
            return connection

    async def _connect(self) -> Http2Connection:
        failure: OSError | None = None
        for address in await self._target.find_addresses():
            try:
                return await self._connect_to(address)
            except OSError as problem:
                if isinstance(problem, ssl.SSLError) and _NO_PROTOCOL in str(problem).lower():
                    raise NotSpokenError("it refuses HTTP/2 in the TLS handshake") from problem
                failure = failure or problem
        raise failure or OSError(f"{self._target.host} has no address")

    async def _connect_to(self, address: str) -> Http2Connection:
        def build() -> Http2Connection:
            return Http2Connection(self.connections + 1)

        loop, name = asyncio.get_running_loop(), self._target.host if self._tls else None
        transport, connection = await loop.create_connection(
            build, address, self._target.port, ssl=self._tls, server_hostname=name
        )
        self.connections += 1
        secured = transport.get_extra_info("ssl_object")
        if secured is not None and secured.selected_alpn_protocol() != "h2":
            transport.close()
            raise NotSpokenError("the TLS handshake did not choose HTTP/2")
        return connection
