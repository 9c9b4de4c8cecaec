"""``/echo``: a WebSocket that sends every message back."""

import re

from podkit.go.header import leads_to
from podkit.message import Answer, Request, Response, Upgrade, error

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in Base64
_VERSION = (b"Sec-Websocket-Version", b"13")


def echo(request: Request) -> Answer:
    """Opens the WebSocket, or reports an invalid handshake, in the original's order.

    Any page may connect, whatever its ``Origin``.
    """
    head = request.head
    if head.upgrade != b"websocket":
        return _refuse(400, "Bad Request")
    if head.method != b"GET":
        return _refuse(405, "Method Not Allowed")
    versions = head.headers.get(_VERSION[0])
    # the original parses a body as the first frames, or closes silently
    if head.length or not leads_to(versions, b"13") or not _KEY.fullmatch(head.header(b"Sec-Websocket-Key")):
        return _refuse(400, "Bad Request")
    return Upgrade(_same)


def _refuse(status: int, text: str) -> Response:
    return error(status, text, _VERSION)


def _same(message: bytes | bytearray) -> bytes | bytearray:
    return message
