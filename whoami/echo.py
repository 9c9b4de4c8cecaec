"""``/echo``: a WebSocket that sends every message back."""

import base64
import binascii

from aiohttp import WSCloseCode, WSMsgType, web

from podkit.go.header import tokens
from podkit.message import Answer, Request, Upgrade, error

_MAX_MESSAGE = 16 << 20  # bytes
_KEY_LENGTH = 16


def echo(request: Request) -> Answer:
    """Open the WebSocket, or say what is wrong with the handshake, in the original's order and words."""
    head = request.head
    version = (b"Sec-Websocket-Version", b"13")
    if head.length or head.upgrade != b"websocket":
        return error(400, "Bad Request", version)
    if head.method != b"GET":
        return error(405, "Method Not Allowed", version)
    if b"13" not in tokens(head.headers.get(version[0])):
        return error(400, "Bad Request", version)
    origin = head.header(b"Origin")
    if origin and origin.partition(b"://")[2].partition(b"/")[0].lower() != head.host.lower():
        return error(403, "Forbidden", version)
    try:
        key = base64.b64decode(head.header(b"Sec-Websocket-Key"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_LENGTH:
        return error(400, "Bad Request", version)
    return Upgrade(_converse, _MAX_MESSAGE)


async def _converse(websocket: web.WebSocketResponse) -> None:
    while True:
        message = await websocket.receive()
        if message.type == WSMsgType.CLOSE:
            await websocket.close(code=message.data or WSCloseCode.OK)
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        await websocket.send_frame(message.data, message.type)
