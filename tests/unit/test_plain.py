"""The fallback for an aiohttp without what the fast way leans on: the same answers, by public interfaces."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from podkit.http1 import plain
from podkit.http1.connection import Server
from podkit.http1.plain import PlainServer, choose_server
from podkit.pod.pod import Pod
from podkit.routes import Routes
from whoami.app import build_routes
from whoami.config import Config
from whoami.health import Health

REQUESTS: list[tuple[str, str, bytes | None]] = [
    ("GET", "/path?x=1", None),
    ("POST", "/", b"hello"),
    ("GET", "/api", None),
    ("GET", "/bench", None),
    ("GET", "/data?size=100&unit=KB", None),
    ("GET", "/data?size=100&attachment=true", None),
    ("GET", "/?wait=10ms", None),
    ("GET", "/echo", None),
    ("POST", "/health", b"503"),
    ("GET", "/health", None),
    ("POST", "/", bytes(20_000)),
    ("GET", "/a//b", None),
    ("HEAD", "/bench", None),
]


@pytest.fixture
async def servers() -> AsyncIterator[list[str]]:
    """The addresses of a whoami served in both ways."""
    loop, addresses, running = asyncio.get_running_loop(), [], []
    for kind in (Server, PlainServer):
        routes: Routes = build_routes(Config(), Pod(), Health())
        server = kind(routes.find, max_body=10_000)
        acceptor = await loop.create_server(server, "127.0.0.1", 0)
        addresses.append(f"http://127.0.0.1:{acceptor.sockets[0].getsockname()[1]}")
        running.append((server, acceptor))
    yield addresses
    for server, acceptor in running:
        acceptor.close()
        await server.drain(5)


async def test_answers_are_the_same(servers: list[str]) -> None:
    """Status, type, length and body, apart from the client's port; and no banner."""
    for method, target, body in REQUESTS:
        found = []
        for address in servers:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    method, address + target, data=body, headers={"Host": "a"}, allow_redirects=False
                ) as answer,
            ):
                text = (await answer.read()).decode()
                lines = [line for line in text.split("\n") if "RemoteAddr" not in line]
                kept = [line.split('"remoteAddr"')[0] for line in lines]
                names = ("Content-Type", "Content-Length", "Location")
                assert not answer.headers.get("Server")
                fields = [answer.headers.get(name) for name in names if "/api" not in target]
                found.append((answer.status, fields, kept))
        assert found[0] == found[1], target


async def test_websockets_are_echoed(servers: list[str]) -> None:
    """Text and bytes, and the close."""
    async with aiohttp.ClientSession() as session, session.ws_connect(servers[1] + "/echo") as websocket:
        await websocket.send_str("hello")
        assert await websocket.receive_str() == "hello"
        await websocket.send_bytes(b"\0\1")
        assert await websocket.receive_bytes() == b"\0\1"
        await websocket.close(code=4001)
        assert websocket.close_code == 4001


def test_the_fallback_is_chosen_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the installed aiohttp has."""
    assert choose_server() is Server
    monkeypatch.setattr(plain, "PRIVATE", ("_no_such_attribute",))
    assert choose_server() is PlainServer
