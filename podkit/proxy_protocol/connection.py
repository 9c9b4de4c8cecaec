"""A connection until its PROXY header is complete."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

from podkit.connections import Connection
from podkit.log import log_line
from podkit.message import render_address
from podkit.proxy_protocol.header import read_header
from podkit.server import Server


class ProxyProtocolFactory:
    """Creates protocols with `build_protocol`, which gets the content of the PROXY header."""

    def __init__(self, server: Server, build_protocol: Callable[..., asyncio.Protocol]) -> None:
        self.server = server
        self.build_protocol = build_protocol
        self._told_at = 0.0
        self._untold = 0

    def __call__(self) -> asyncio.Protocol:
        return AwaitedHeader(self)

    def tell(self, peer: str, problem: str) -> None:
        """Logs a closed connection, at most once a second."""
        now = time.monotonic()
        if now - self._told_at < 1:
            self._untold += 1
            return
        more = f" ({self._untold} more like this one since)" if self._untold else ""
        self._told_at, self._untold = now, 0
        log_line(f"error: connection from {peer} closed: {problem}{more}")


class AwaitedHeader(Connection):
    """A connection of the server until its header is complete or invalid."""

    def __init__(self, factory: ProxyProtocolFactory) -> None:
        self._factory = factory
        self._server = factory.server
        self._last_seen = time.monotonic()
        self._seen = b""  # of the header; a longer one is refused
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected."""
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Receives the header, in pieces or with following data."""
        if self._refused:
            return
        seen = self._seen + data
        try:
            found = read_header(seen)
        except ValueError as problem:
            return self._refuse(str(problem))
        if found is None:
            self._seen = seen
            return
        announced, end = found
        self._server.connections.discard(self)
        protocol = self._factory.build_protocol(announced)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if end < len(seen):
            protocol.data_received(seen[end:])

    def eof_received(self) -> bool:
        """The client has half-closed. Probes connect and send nothing: that is not logged."""
        if self._seen:
            self._refuse("it ended within its PROXY header")
        return False

    def _refuse(self, problem: str) -> None:
        if not self._refused:
            self._refused = True
            self._factory.tell(render_address(self._transport.get_extra_info("peername")), problem)
            self._transport.close()

    # calls by the server

    def check(self, now: float) -> None:
        """Closes a connection whose header takes too long."""
        if now - self._last_seen > self._server.limits.head_timeout:
            self._refuse("its PROXY header takes too long")
