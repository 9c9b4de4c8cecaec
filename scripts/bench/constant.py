"""The smallest application, for ASGI servers (``asgi``) and Granian's RSGI (``rsgi``)."""

from typing import Any


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the whole body, and answers 1."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # disables the lifespan protocol
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"1"})


async def rsgi(scope: Any, protocol: Any) -> None:
    """Reads the whole body, and answers 1; sends WebSocket messages back."""
    if scope.proto == "ws":
        socket = await protocol.accept()
        while (message := await socket.receive()).kind:  # 0 at the end
            await socket.send_bytes(message.data)
        return
    if scope.method == "POST":
        await protocol()
    protocol.response_str(200, [("content-type", "text/plain")], "1")
