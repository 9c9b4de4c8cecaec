"""Closed connections leave nothing behind, without the garbage collector's help."""

import asyncio
import gc
import ssl
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hyperframe.frame import DataFrame, SettingsFrame

from podkit.grpc.routes import build_find_call
from podkit.http2.stream import Stream
from podkit.limits import Limits
from podkit.opening import Opening
from podkit.pod.pod import Pod
from podkit.process.acceptor import Acceptor
from podkit.process.listen import bind
from podkit.server import Server
from podkit.tls.certificates import Certificates
from podkit.tls.handshake import TlsProtocolFactory
from tests.certificates import issue
from tests.http2 import PREFACE, Speaker, get, serialize
from tests.inprocess import until
from tests.server import request
from whoami.app import build_routes
from whoami.health import Health
from whoami.rpc import build_methods

uvloop: Any = pytest.importorskip("uvloop")  # asyncio's own transports are cycles by themselves

HANDSHAKE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
CONVERSATION = request("/echo", *HANDSHAKE, "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==") + b"\x88\x80\0\0\0\0"
H2C = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]
GOODBYE = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0"  # a frame GOAWAY
CLOSE = "Connection: close"
PLAIN = {
    "nothing": b"",
    "a request": request("/bench", CLOSE),
    "a request that is kept alive": request("/bench"),
    "a body": request("/", CLOSE, method="POST", body=b"hello"),
    "half a body": request("/", CLOSE, method="POST", body=b"hello")[:-2],
    "half a head": b"GET / HT",
    "nonsense": b"nonsense\r\n\r\n",
    "an answer that takes time": request("/?wait=5ms", CLOSE),
    "an answer that is not waited for": request("/?wait=1h"),
    "a large answer": request("/data?size=1&unit=MB", CLOSE),
    "a WebSocket": CONVERSATION,
    "events": request("/.events"),
    "an upgrade": request("/", *H2C) + serialize(PREFACE) + GOODBYE,
}


CALL = ("content-type", "application/grpc")
WATCH, REFLECTION = "/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def speak_http2() -> bytes:
    """A request and a GOAWAY."""
    speaker = Speaker()
    return serialize(PREFACE, SettingsFrame(0), speaker.headers(1, *get("/"))) + GOODBYE


def hold_streams() -> bytes:
    """Answers that do not end: dialogues in which the client has said something or nothing, and events."""
    speaker = Speaker()
    watch, reflection = get(WATCH, CALL, method="POST"), get(REFLECTION, CALL, method="POST")
    return serialize(
        PREFACE,
        SettingsFrame(0),
        *[speaker.headers(number, *watch, ended=False) for number in (1, 3)],
        DataFrame(1, bytes(5)),
        *[speaker.headers(number, *reflection, ended=False) for number in (5, 7)],
        DataFrame(5, bytes(5)),
        speaker.headers(9, *get("/.events")),
    )


async def talk(port: int, data: bytes, context: ssl.SSLContext | None) -> None:
    """Sends, reads briefly, and disconnects."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(data)
    try:
        async with asyncio.timeout(0.2 if data else 0.02):
            while await reader.read(1 << 20):
                pass
    except (TimeoutError, ConnectionError):
        pass
    writer.transport.abort()


async def leave_nothing(data: bytes, certificates: Certificates | None, context: ssl.SSLContext | None) -> None:
    """No protocol object and no stream may remain after a few connections have closed."""
    pod, state = Pod(), Health()
    find_call = build_find_call(partial(build_methods, pod, "", state), Limits())
    server = Server(build_routes(pod, state).find, find_call=find_call)
    (listener,) = bind(0)
    known: list[weakref.ref[Any]] = []
    add = server.connections.add

    def remember(connection: Any) -> None:
        known.append(weakref.ref(connection))
        add(connection)

    server.connections.add = remember  # type: ignore[method-assign]
    build: Any = partial(Opening, server)
    acceptor = Acceptor(
        server, listener, TlsProtocolFactory(server, certificates, build) if certificates else build
    )
    await acceptor.start()
    port = listener.getsockname()[1]
    await asyncio.gather(*[talk(port, data, context) for _ in range(3)])
    assert known
    await until(lambda: not len(server.connections))
    await acceptor.finish()
    await until(lambda: all(connection() is None for connection in known))
    await until(lambda: not any(isinstance(each, Stream) for each in gc.get_objects()))


def check(data: bytes, certificates: Certificates | None = None, context: ssl.SSLContext | None = None) -> None:
    """Nothing may remain while the garbage collector is off."""
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(leave_nothing(data, certificates, context))
    finally:
        gc.enable()


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_is_left_of_a_connection(name: str) -> None:
    """Whatever was sent on it."""
    check(PLAIN[name])


def test_nothing_is_left_of_an_http2_connection() -> None:
    """With prior knowledge."""
    check(speak_http2())


def test_nothing_is_left_of_streams_in_progress() -> None:
    """Thousands that are opened and dropped again and again would fill the memory before they are collected."""
    check(hold_streams())


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_nothing_is_left_of_a_tls_connection(alpn: str, tmp_path: Path) -> None:
    """Nor of its content."""
    issue("localhost").write(tmp_path)
    certificates = Certificates(str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    check(speak_http2() if alpn == "h2" else PLAIN["a request"], certificates, context)
