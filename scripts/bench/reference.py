"""Reference servers that return a constant: an aiohttp ``application``, and ``grpcio``.

Arguments: which one, a port, and for aiohttp optionally a certificate and its key.
"""

import asyncio
import ssl
import sys

import grpc
import uvloop
from aiohttp import web


async def one(request: web.Request) -> web.Response:
    """The smallest answer, after reading the body."""
    await request.read()
    return web.Response(text="1")


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Sends WebSocket messages back."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data)
    return socket


async def serve_http(port: int, *certificate: str) -> None:
    """Serves until the process is stopped."""
    application = web.Application()
    application.router.add_route("GET", "/echo", echo)
    application.router.add_route("*", "/{any:.*}", one)
    runner = web.AppRunner(application, access_log=None)
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


async def serve_rpc(port: int) -> None:
    """Serves Bench as a constant on grpcio: field 1, the number 1."""

    async def bench(request: bytes, context: object) -> bytes:
        return b"\x08\x01"

    server = grpc.aio.server()
    methods = {"Bench": grpc.unary_unary_rpc_method_handler(bench)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("whoami.Whoami", methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    kind, port, *certificate = sys.argv[1:]
    if kind == "grpcio":
        asyncio.run(serve_rpc(int(port)))
    else:
        uvloop.run(serve_http(int(port), *certificate))
