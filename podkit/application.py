"""A route table as an aiohttp application."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from weakref import WeakKeyDictionary

from aiohttp import WSMsgType, web

from podkit.answer import call, log_answer, max_body, own_mistake, respond, too_busy, too_large
from podkit.budget import Share
from podkit.http1.head import parse_head
from podkit.http1.writer import REASONS, closes
from podkit.message import (
    UNREADABLE,
    Abort,
    Answer,
    Block,
    Client,
    Delayed,
    Head,
    HttpError,
    Request,
    Response,
    Tls,
    Upgrade,
    content_length,
    error,
)
from podkit.pod.pod import Pod
from podkit.routes import Route
from podkit.server import Server

_TAIL = "/{tail:.*}"
_RAW = b"# aiohttp: the lines as it read them, then the body without its framing\r\n%s\r\n\r\n%s"


def build_application(server: Server, pod: Pod) -> web.Application:
    """Builds an application with all routes of a server; it keeps the pod's facts current while it runs.

    Mounted under a prefix, it routes by the rest of the path.
    """
    app = web.Application()

    async def keep_pod_fresh(app: web.Application) -> AsyncIterator[None]:
        with pod.watching():
            yield

    async def leave(app: web.Application) -> None:
        pod.leaving.set()

    app.on_shutdown.append(leave)
    app.cleanup_ctx.append(keep_pod_fresh)
    app.router.add_route("*", _TAIL, Handler(server).answer)
    app.on_response_prepare.append(_as_we_answer)
    return app


class Handler:
    """Answers a request that aiohttp has parsed as our own transports would."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clients: WeakKeyDictionary[asyncio.BaseTransport, Client] = WeakKeyDictionary()

    async def answer(self, incoming: web.Request) -> web.StreamResponse:
        """The aiohttp handler."""
        server, share = self._server, Share(self._server.budget)
        start = asyncio.get_running_loop().time()
        request = Request(UNREADABLE, self._client(incoming))
        try:
            head = parse_head(_render_head(incoming))
            request = request._replace(head=head, number=request.client.requests)
            routed = head._replace(path=_without_prefix(incoming, head.path))
            route = server.find_route(routed)
            if route.reads_body:
                body = await self._read_body(incoming, head, route, share)
                if body is None:
                    return await _send(incoming, request, too_busy())
                request = request._replace(body=body)
            if route.keeps_raw:
                request = request._replace(body=b"", raw=_RAW % (_render_head(incoming), request.body))
            answer: Answer = call(request, route)
            if isinstance(answer, Delayed):
                await asyncio.sleep(answer.seconds)
                answer = respond(request, answer)
            if isinstance(answer, Upgrade):
                log_answer(server, request, Response(101), start)
                return await _converse(incoming, answer, server.limits.max_message)
            if isinstance(answer, Response):
                log_answer(server, request, answer, start)
                return await _send(incoming, request, answer)
            assert isinstance(answer, Abort)
            if incoming.transport is not None:
                incoming.transport.abort()
            raise ConnectionAbortedError
        except HttpError as problem:
            return await _send(incoming, request, error(problem.status, problem.reason))
        finally:
            share.resize(0)

    def _client(self, incoming: web.Request) -> Client:
        transport = incoming.transport
        if transport is None:
            raise ConnectionResetError
        client = self._clients.get(transport)
        if client is None:
            client = self._clients[transport] = self._server.new_client(transport)
            client.tls = _read_tls(transport)
        client.requests += 1
        return client

    async def _read_body(self, incoming: web.Request, head: Head, route: Route, share: Share) -> bytes | None:
        """The body; None if the memory budget cannot hold it."""
        body, limit = bytearray(), max_body(self._server.limits, route)
        if head.length > limit:
            raise too_large(limit)
        async for block in incoming.content.iter_any():
            body += block
            if len(body) > limit:
                raise too_large(limit)
            if not share.resize(len(body)):
                return None
        return bytes(body)


def _render_head(incoming: web.Request) -> bytes:
    """The request head as far as aiohttp preserves it, without the spaces around values."""
    line = f"{incoming.method} {incoming.raw_path} HTTP/{incoming.version.major}.{incoming.version.minor}"
    fields = [b"%s: %s" % pair for pair in incoming.raw_headers]
    return b"\r\n".join([line.encode("utf-8", "surrogateescape"), *fields])


def _without_prefix(incoming: web.Request, path: bytes) -> bytes:
    """The path relative to the application's mount point."""
    resource = incoming.match_info.route.resource
    prefix = resource.canonical.removesuffix("/{tail}").encode() if resource is not None else b""
    return path.removeprefix(prefix) or b"/" if prefix else path


def _read_tls(transport: asyncio.BaseTransport) -> Tls | None:
    session = transport.get_extra_info("ssl_object")
    if session is None:
        return None
    cipher = session.cipher() or ("",)
    return Tls(session.version() or "", cipher[0], session.selected_alpn_protocol() or "", "", (), ())


async def _send(incoming: web.Request, request: Request, response: Response) -> web.StreamResponse:
    head, body = request.head, response.body
    outgoing = web.StreamResponse(status=response.status, reason=REASONS.get(response.status))
    for name, value in response.headers:
        outgoing.headers.add(name.decode(), value.decode("utf-8", "surrogateescape"))
    if closes(head, response):
        outgoing.force_close()
    outgoing.content_length = content_length(head, response)
    outgoing.headers.setdefault("Content-Type", "")  # otherwise aiohttp adds one
    with suppress(ConnectionError):  # the client may disconnect at any time
        await outgoing.prepare(incoming)
        if head.method != b"HEAD":
            await _send_body(outgoing, request, body if not isinstance(body, bytes) else (body,))
        await outgoing.write_eof()
    return outgoing


async def _send_body(
    outgoing: web.StreamResponse, request: Request, body: Iterable[Block] | AsyncIterator[bytes]
) -> None:
    try:
        if isinstance(body, AsyncIterator):
            async for block in body:
                await outgoing.write(block)
        else:
            for piece in body:
                await outgoing.write(piece)
    except ConnectionError:
        raise
    except Exception as mistake:
        own_mistake(request, mistake)
        raise ConnectionAbortedError from None


async def _converse(incoming: web.Request, answer: Upgrade, limit: int) -> web.StreamResponse:
    # aiohttp refuses a message of exactly the limit
    websocket = web.WebSocketResponse(compress=False, max_msg_size=limit + 1)
    with suppress(ConnectionError):  # the client may disconnect at any time
        await websocket.prepare(incoming)
        async for message in websocket:
            if message.type == WSMsgType.TEXT:
                await websocket.send_str(answer.reply(message.data.encode()).decode())
            elif message.type == WSMsgType.BINARY:
                await websocket.send_bytes(bytes(answer.reply(message.data)))
    return websocket


async def _as_we_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Removes aiohttp's banner and the content type that it adds."""
    response.headers.pop("Server", None)
    if isinstance(response, web.WebSocketResponse):
        response.headers["Connection"] = "Upgrade"
    if response.headers.get("Content-Type") == "":
        del response.headers["Content-Type"]
