"""Requests and answers as aiohttp's connection passes them around, around ours."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import HttpVersion, StreamReader, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from podkit.http1.request_stream import Message
from podkit.http1.writer import render_head
from podkit.message import Head, HttpError, Response

if TYPE_CHECKING:
    from podkit.http1.connection import Connection

_ROOT: Final = URL("/")
_REFUSED: Final = Head(b"-", b"/", b"", b"-", b"", (1, 1), {}, True, 0, (), b"")


class Exchange(web.BaseRequest):
    """One request as aiohttp sees it, with the head as we read it, or the reason why it is refused."""

    ATTRS = web.BaseRequest.ATTRS | frozenset(("connection", "head", "refusal"))

    def __init__(
        self, message: Message, payload: StreamReader, protocol: "Connection", writer: Any, task: Any
    ) -> None:
        self.connection = protocol
        self.refusal = message if isinstance(message, HttpError) else None
        self.head = message if isinstance(message, Head) else _REFUSED
        super().__init__(_raw_message(self.head), payload, protocol, writer, task, protocol._loop)


def _raw_message(head: Head) -> RawRequestMessage:
    pairs = [(name, value) for name, values in head.headers.items() for value in values]
    pairs.append((b"Host", head.host))
    headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)
    return RawRequestMessage(
        head.method.decode("latin-1"),
        "/",
        HttpVersion(*head.version),
        CIMultiDictProxy(headers),
        tuple(pairs),
        head.close,
        None,
        bool(head.upgrade),
        head.length < 0,
        _ROOT,
    )


class Reply(web.StreamResponse):
    """One of our responses on its way out through aiohttp's writer."""

    def __init__(self, exchange: Exchange, response: Response, close: bool) -> None:
        super().__init__(status=response.status)
        self._exchange = exchange
        self._response = response
        self.close = close

    @property
    def keep_alive(self) -> bool:
        """Whether the connection takes another request."""
        return not self.close

    async def prepare(self, request: web.BaseRequest) -> Any:
        """Write the head, and the body with it if it is at hand."""
        head, response, writer = self._exchange.head, self._response, request.writer
        connection = self._exchange.connection
        connection.responding = True
        self.close = self.close or connection.is_last
        start = render_head(head, response, self.close, connection.server.clock.date_line())
        if isinstance(response.body, bytes):
            await writer.write(start if head.method == b"HEAD" else start + response.body)
            return
        await writer.write(start)
        if head.method != b"HEAD":
            for block in response.body:
                await writer.write(block)
                await asyncio.sleep(0)  # a fast reader must not keep the loop from the others

    async def write_eof(self, data: bytes = b"") -> None:
        """The response is complete."""
        connection = self._exchange.connection
        await self._exchange.writer.drain()
        connection.responding = False
        if (self.close and not self._exchange.content.is_eof()) or self._exchange.refusal:
            connection.linger()


class WebSocket(web.WebSocketResponse):
    """aiohttp's WebSocket, with the original's handshake and texts left as the bytes they came as."""

    def __init__(self, max_message: int) -> None:
        # aiohttp refuses a message of the very limit
        super().__init__(autoclose=False, compress=False, max_msg_size=max_message + 1, decode_text=False)

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers["Connection"] = "Upgrade"
        for name in ("Server", "Content-Type", "Date"):
            self.headers.pop(name, None)
