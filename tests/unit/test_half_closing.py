"""The server ends its output after the last answer, whatever the client has done meanwhile."""

import asyncio
import socket
import time
from collections.abc import Callable

import pytest
from hyperframe.frame import SettingsFrame

from podkit.limits import Limits
from podkit.message import Head, Response
from podkit.routes import Route
from podkit.turns import Turn
from tests.http2 import PREFACE, raw, serialize
from tests.inprocess import running, until
from tests.server import PATIENCE
from whoami.echo import echo

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HANDSHAKE = GET[:-2] + (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def find(head: Head) -> Route:
    """A WebSocket if one is wanted, else an empty answer."""
    return Route(echo if head.upgrade else lambda request: Response())


@pytest.mark.parametrize(
    ("before", "mistake"),
    [
        (GET, b"NONSENSE\r\n\r\n" + bytes(1000)),
        (serialize(PREFACE, SettingsFrame(0)), raw(8, 0, bytes(3)) + bytes(1000)),
        (HANDSHAKE, b"\x83" * 1000),
    ],
    ids=["HTTP/1.1", "HTTP/2", "WebSocket"],
)
async def test_a_client_that_closes_before_its_mistake_is_answered(before: bytes, mistake: bytes) -> None:
    """Nothing is kept of it. Its input had to wait for a turn, and was not read from meanwhile."""
    errors = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    async with running(find, Limits(linger=0.01)) as server:
        turns = server.server.turns
        put_off = turns.put_off
        reader, writer = await server.connect()
        writer.write(before)
        await reader.read(1)

        def close(work: Callable[[], None]) -> Turn:
            writer.close()
            return put_off(work)

        turns.put_off = close  # type: ignore[method-assign]
        turns.spend(1.0)
        writer.write(mistake)
        await server.let_go()
    assert not errors


async def test_a_client_that_closes_as_its_time_is_up() -> None:
    """It must not keep the timeouts of others from being checked."""
    async with running(find, Limits(linger=0.01)) as server:
        client = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        client.send(GET[:10])
        await until(lambda: server.server.budget.used)
        (connection,) = server.server.connections
        client.close()
        connection.check(time.monotonic() + Limits().head_timeout + 1)
        await server.let_go()
