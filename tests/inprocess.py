"""Routes served in this process's event loop, over real sockets, with custom limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from podkit.limits import Limits
from podkit.opening import Opening
from podkit.proxy_protocol.connection import ProxyProtocolFactory
from podkit.routes import FindRoute
from podkit.server import Server
from tests.server import PATIENCE


async def until(condition: Callable[[], object]) -> None:
    """Waits for a condition; fails if it does not hold in time."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)


class Clock:
    """The monotonic clock, which a test may set forward."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        real = time.monotonic
        patch.setattr(time, "monotonic", lambda: real() + self._ahead)

    def forward(self, seconds: float) -> None:
        """Lets time pass, also for the event loop's timers."""
        self._ahead += seconds


async def turn(condition: Callable[[], object]) -> None:
    """Waits for a condition, and no longer than that takes."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0)


@dataclass
class Running:
    """A listening server."""

    server: Server
    port: int

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)

    async def ask(self, data: bytes) -> bytes:
        """Everything that the server sends until it closes."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        writer.close()
        return answer

    async def let_go(self) -> None:
        """Waits until nobody is connected; then no memory may be charged."""
        await until(lambda: not len(self.server.connections))
        assert self.server.budget.used == 0


@asynccontextmanager
async def running(
    find_route: FindRoute, limits: Limits | None = None, *, proxy_protocol: bool = False
) -> AsyncIterator[Running]:
    """Serves until the end of the block."""
    server = Server(find_route, limits=limits)
    loop = asyncio.get_running_loop()
    build: Callable[..., asyncio.Protocol] = partial(Opening, server)
    if proxy_protocol:
        build = ProxyProtocolFactory(server, build)
    listener = await loop.create_server(build, "127.0.0.1", 0)
    server.start()
    try:
        yield Running(server, listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await server.drain(0)
