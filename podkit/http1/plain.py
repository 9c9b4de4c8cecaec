"""HTTP/1.1 by aiohttp's public interfaces alone, for an aiohttp that lacks what `http1` leans on.

The answers are the same. It is slower, reads heads as aiohttp does, and there is no HTTP/2.
"""

import asyncio
from typing import Any

from aiohttp import web

from podkit.http1.connection import IDLE_TIMEOUT, PRIVATE, Server
from podkit.http1.head import parse_head
from podkit.http1.writer import body_length, render_address
from podkit.log import say
from podkit.message import Dialogue, Head, HttpError, Request, Response, Upgrade, error


def choose_server() -> type[Server]:
    """The server for the aiohttp that is installed."""
    slots = {slot for base in web.RequestHandler.__mro__ for slot in getattr(base, "__slots__", ())}
    return Server if slots.issuperset(PRIVATE) else PlainServer


class PlainServer(Server):
    """aiohttp's low-level server, with a handler that asks our endpoints."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        web.Server.__init__(
            self, self._respond, handler_cancellation=True, access_log=None, keepalive_timeout=IDLE_TIMEOUT
        )

    __call__ = web.Server.__call__  # type: ignore[assignment]  # aiohttp's own connections

    async def drain(self, grace_period: float) -> None:
        """Let requests in flight be answered, for at most `grace_period` seconds."""
        self.draining = True
        await self.shutdown(grace_period or 0.05)  # aiohttp takes 0 for no limit

    async def _respond(self, incoming: web.BaseRequest) -> web.StreamResponse:
        start = asyncio.get_running_loop().time()
        remote_addr = render_address(incoming.transport and incoming.transport.get_extra_info("peername"))
        request = Request(_UNREAD, remote_addr)
        try:
            request = Request(_read_head(incoming), remote_addr)
            route = self.find_route(request.head)
            if route.reads_body:
                request = request._replace(body=await self._read_body(incoming))
            answer = route.endpoint(request)
            if isinstance(answer, Upgrade):
                return await _converse(incoming, answer)
            assert not isinstance(answer, Dialogue)
            response = answer if isinstance(answer, Response) else await answer
        except HttpError as problem:
            response = error(problem.status, problem.reason)
        except Exception as mistake:
            say(f"error: {request.head.request_uri[:200]!r} of {remote_addr}: {mistake!r}")
            response = error(500, "Internal Server Error")
        if self.access_log is not None:
            self.access_log.write(request, response, start, asyncio.get_running_loop().time())
        return await _send(incoming, request.head, response)

    async def _read_body(self, incoming: web.BaseRequest) -> bytes:
        body = bytearray()
        async for block in incoming.content.iter_any():
            body += block
            if len(body) > self.max_body:
                raise HttpError(413, f"the body is larger than {self.max_body} bytes")
        return bytes(body)


_UNREAD = Head(b"-", b"/", b"", b"-", b"", (1, 1), {}, True, 0, (), b"")


def _read_head(incoming: web.BaseRequest) -> Head:
    line = f"{incoming.method} {incoming.raw_path} HTTP/{incoming.version.major}.{incoming.version.minor}"
    fields = [name + b": " + value for name, value in incoming.raw_headers]
    return parse_head(b"\r\n".join([line.encode("utf-8", "surrogateescape"), *fields]))


async def _send(incoming: web.BaseRequest, head: Head, response: Response) -> web.StreamResponse:
    outgoing = web.StreamResponse(status=response.status)
    for name, value in response.headers:
        outgoing.headers.add(name.decode(), value.decode("latin-1"))
    outgoing.headers["Server"] = ""  # else aiohttp tells its version
    outgoing.content_length = body_length(head, response)
    await outgoing.prepare(incoming)
    if head.method != b"HEAD":
        for block in (response.body,) if isinstance(response.body, bytes) else response.body:
            await outgoing.write(block)
    await outgoing.write_eof()
    return outgoing


async def _converse(incoming: web.BaseRequest, answer: Upgrade) -> web.StreamResponse:
    websocket = web.WebSocketResponse(
        autoclose=False, compress=False, max_msg_size=answer.max_message + 1, decode_text=False
    )
    await websocket.prepare(incoming)
    await answer.converse(websocket)
    await websocket.close()
    return websocket
