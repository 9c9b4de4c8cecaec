"""WebSockets (RFC 6455): the handshake is the client's and ours, the conversation aiohttp's server's."""

import asyncio
import time
from contextlib import suppress
from typing import Any, cast

from aiohttp import WSCloseCode, web

from podkit.answer import log_answer
from podkit.message import Client, Request, Response, Upgrade
from podkit.server import Server

# one that aiohttp takes, whatever the client's own looked like
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
)


def start_websocket(
    server: Server,
    client: Client,
    transport: asyncio.Transport,
    request: Request,
    upgrade: Upgrade,
    early: bytes,
) -> None:
    """Converse on a transport that nobody else reads any longer; `early` came behind the request."""
    connection = WebSocketConnection(server, request, upgrade)
    transport.set_protocol(connection)
    connection.connection_made(transport)
    if early:
        connection.data_received(early)


class WebSocketConnection(asyncio.Protocol):
    """Stands between the transport and an aiohttp server of its own."""

    def __init__(self, server: Server, request: Request, upgrade: Upgrade) -> None:
        self._server = server
        self._request = request
        self._upgrade = upgrade
        self._last_seen = self._start = time.monotonic()
        # aiohttp refuses a message of the very limit
        self._websocket = web.WebSocketResponse(
            autoclose=False, compress=False, max_msg_size=upgrade.max_message + 1, decode_text=False
        )
        self._early: list[bytes] | None = []  # what comes before aiohttp's server is there
        self._inner: asyncio.Protocol | None = None
        self._task: asyncio.Task[Any] | None = None

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._converse)
        app.on_response_prepare.append(_as_the_original)
        runner = web.AppRunner(app, handle_signals=False, access_log=None, handler_cancellation=True)
        await runner.setup()
        assert runner.server is not None
        self._inner = cast(asyncio.Protocol, runner.server())
        self._inner.connection_made(self._transport)
        early, self._early = self._early or [], None
        self._inner.data_received(_HANDSHAKE % self._request.head.header(b"Sec-Websocket-Key"))
        for data in early:
            self._inner.data_received(data)

    async def _converse(self, incoming: web.Request) -> web.StreamResponse:
        with suppress(ConnectionError):  # the client may go at any time
            await self._websocket.prepare(incoming)
            await self._upgrade.converse(self._websocket)
            await self._websocket.close()
        return self._websocket

    # from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is ours."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        self._task = asyncio.ensure_future(self._open())

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._server.connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        log_answer(self._server, self._request, Response(101), self._start)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Frames."""
        self._last_seen = time.monotonic()
        if self._inner is None:
            self._early = [*(self._early or ()), data]
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self._inner.eof_received() if self._inner is not None else False

    def pause_writing(self) -> None:
        """The client reads slower than it asks."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._inner is not None:
            self._inner.resume_writing()

    # the end

    def check(self, now: float) -> None:
        """A client that says nothing for long is let go."""
        if now - self._last_seen > self._server.limits.websocket_timeout:
            self.abort()

    def say_goodbye(self) -> None:
        """Close with 1001, and wait for no client that does not react."""
        goodbye = self._websocket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutdown")
        self._task = asyncio.ensure_future(goodbye)

    def close_if_quiet(self, now: float) -> None:
        """It ends by its own goodbye."""

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


async def _as_the_original(request: web.Request, response: web.StreamResponse) -> None:
    """The headers of the original's handshake, and no banner."""
    response.headers["Connection"] = "Upgrade"
    for name in ("Server", "Content-Type", "Date"):
        response.headers.pop(name, None)
