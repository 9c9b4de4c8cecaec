"""The recorded answers again, from the aiohttp application on aiohttp's own server."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from tests.contract.test_whoami_http1 import CASES, replay_here, settings
from tests.server import PATIENCE, Server
from whoami.app import build_app

# What aiohttp's server cannot do, because its parser decides before the application is called.
UNABLE = {
    "bad/version": "llhttp answers 400 to a version that it does not know",
    "bad/transfer-encoding": "llhttp answers 400 to a coding that it does not know",
    "bad/header-2mb": "aiohttp answers 400 to a head that is too large",
    "bad/content-length-and-chunked": "llhttp refuses a request with both",
    "root/options-star": "aiohttp's router has no route for *",
    "root/expect-continue": "aiohttp sends 100 Continue whether the body has come or not",
    "expect/100-Continue": "aiohttp sends 100 Continue where there is no body, too",
    "echo/handshake-upgrade-list": "aiohttp's WebSocket takes one protocol alone",
    "echo/handshake-version-list": "aiohttp's WebSocket takes one version alone",
    "echo/handshake-http10": "aiohttp answers HTTP/1.0 with HTTP/1.0",
    "target/x:y": "llhttp takes no opaque target",
    "target/http://a": "aiohttp's router has no route for an empty path",
    "connect/a.example": "aiohttp's router has no route for an empty path",
    "connect/http://a.example/x": "llhttp takes a host and a port alone",
    "chunk/5": "llhttp refuses a malformed chunk, and the application does not hear of it",
    "chunk/7": "llhttp refuses a malformed chunk, and the application does not hear of it",
    "chunk/trailer": "aiohttp keeps trailers to itself",
}


class ApplicationServer(Server):
    """An aiohttp application on its own server, in a thread of this process."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(),), daemon=True
        )
        self._thread.start()
        assert self._is_up.wait(PATIENCE)

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        runner = web.AppRunner(
            self._app,
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            max_line_size=1 << 20,
            max_field_size=1 << 20,
            max_headers=1 << 16,
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._is_up.set()
        await self._stopping.wait()
        await runner.cleanup()

    def stop(self, number: int = 0) -> None:
        """Stops the server."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)


def build(key: str) -> web.Application:
    """The application with a recorded case's settings."""
    arguments, env, _ = json.loads(key)
    words = " ".join(arguments).lstrip("-").removeprefix("name").lstrip(" =")
    environ = [f"{name}={value}".encode() for name, value in env.items()]
    return build_app(name=words or env.get("WHOAMI_NAME", ""), environ=environ)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ApplicationServer]]:
    """Servers by their settings."""
    started: dict[str, ApplicationServer] = {}
    yield started
    for server in started.values():
        server.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_application_answers_as_the_original(
    case: dict[str, Any], servers: dict[str, ApplicationServer]
) -> None:
    """All answers are the same, except the few that aiohttp's server prevents."""
    key = settings(case)
    if key not in servers:
        servers[key] = ApplicationServer(build(key))
    if case["name"] not in UNABLE:
        replay_here(case, servers[key])
        return
    with pytest.raises((AssertionError, OSError)):
        replay_here(case, servers[key])
