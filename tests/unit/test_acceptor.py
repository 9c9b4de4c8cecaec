"""New connections: which are accepted, which are closed for them, and that shutdown loses none."""

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from podkit.limits import Limits
from podkit.message import Delayed, Request, Response
from podkit.opening import Opening
from podkit.process.acceptor import Acceptor
from podkit.process.listen import bind
from podkit.routes import Route
from podkit.server import Server
from tests.inprocess import until
from tests.server import PATIENCE

WAITING = b"/waiting"
FEW, TOO_MANY = Limits(connections=2 << 20), Limits(connections=1 << 40)  # for the number of file descriptors


def find_route(head: Any) -> Route:
    """A path that is answered after an hour, and all others, which are immediate."""

    def endpoint(request: Request) -> Response | Delayed:
        return Delayed(3600, Response) if request.head.path == WAITING else Response(body=request.head.path)

    return Route(endpoint)


class Place:
    """An accepting server, and its clients."""

    def __init__(self, listener: socket.socket, limits: Limits) -> None:
        self.server = Server(find_route, limits=limits)
        self.port = listener.getsockname()[1]
        self.acceptor = Acceptor(self.server, listener, partial(Opening, self.server))
        self.clients: list[socket.socket] = []

    def connect(self) -> socket.socket:
        """A connection established by the kernel; the server may not have run yet."""
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def ask(self, client: socket.socket, path: str = "/") -> bytes:
        """The server's answer; empty if it closes."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            try:
                await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                return await loop.sock_recv(client, 1000)
            except ConnectionError:
                return b""

    async def wait(self) -> socket.socket:
        """A client that waits for its answer."""
        client = self.connect()
        before = self.server.in_flight()
        await asyncio.get_running_loop().sock_sendall(client, b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % WAITING)
        await until(lambda: self.server.in_flight() > before)
        return client


@asynccontextmanager
async def place(limits: Limits | None = None, listener: socket.socket | None = None) -> AsyncIterator[Place]:
    """A server with these limits, until the end of the block."""
    listener = listener or bind(0)[0]
    here = Place(listener, limits or FEW)
    await here.acceptor.start()
    yield here
    for client in here.clients:
        client.close()
    if listener.fileno() >= 0:
        await here.acceptor.finish()
    await here.server.drain(0)
    assert (here.server.room.used, len(here.server.connections)) == (0, 0)


def room_for(connections: int) -> Limits:
    """Limits for `count` plain connections, and the most that another may cost."""
    limits = Limits()
    more = limits.tls_cost + limits.http2_cost
    return Limits(connections=connections * limits.connection_cost + more)


async def is_closed(client: socket.socket) -> bool:
    """Whether the server closes the connection, soon and silently."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            return await asyncio.get_running_loop().sock_recv(client, 1) == b""
    return True


async def test_who_is_idle_longest_makes_place() -> None:
    """As many connections as there is room for; other clients' requests continue."""
    async with place(room_for(4)) as here:
        waiting = await here.wait()
        idle = [here.connect() for _ in range(3)]
        for client in (idle[1], idle[0], idle[2]):
            assert b"200 OK" in await here.ask(client)
        assert b"200 OK" in await here.ask(here.connect())
        assert await is_closed(idle[1])
        assert len(here.server.connections) == 4
        assert b"200 OK" in await here.ask(here.connect())
        assert await is_closed(idle[0])
        assert b"200 OK" in await here.ask(idle[2])
        with pytest.raises(BlockingIOError):
            waiting.recv(1)


async def test_who_has_not_sent_a_whole_head_makes_place() -> None:
    """A client that sends its head slowly must not keep others out."""
    async with place(room_for(3)) as here:
        slow = [here.connect() for _ in range(3)]
        for client in slow:
            await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost:")
        assert b"200 OK" in await here.ask(here.connect())


async def test_where_all_are_busy_others_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With one log line, however many they are; a disconnect makes room."""
    async with place(room_for(2)) as here:
        busy = [await here.wait() for _ in range(2)]
        for _ in range(50):
            assert await here.ask(here.connect()) == b""
        lines = capsys.readouterr().err.splitlines()
        assert lines == ["error: connections are refused: all that there is room for are busy"]
        busy[0].close()
        await until(lambda: len(here.server.connections) == 1)
        assert b"200 OK" in await here.ask(here.connect())


async def test_many_are_accepted_at_once() -> None:
    """Iterations of the loop may be long, because all other connections work in them."""
    async with place() as here, asyncio.timeout(PATIENCE):
        for _ in range(64):
            here.connect()
        iterations = 0
        while len(here.server.connections) < len(here.clients):
            await asyncio.sleep(0)
            iterations += 1
        assert iterations < len(here.clients) / 4


async def test_where_many_are_busy_recent_ones_make_place(capsys: pytest.CaptureFixture[str]) -> None:
    """So health checks on new connections pass; those that have waited longest keep their place."""
    async with place(room_for(64)) as here:
        busy = [await here.wait() for _ in range(64)]
        assert b"200 OK" in await here.ask(here.connect())
        assert [await is_closed(client) for client in busy[60:62]] == [True, True]
        for client in busy[:60] + busy[62:]:
            with pytest.raises(BlockingIOError):
                client.recv(1)
    assert "recent connections are closed for new ones" in capsys.readouterr().err


async def test_the_kernel_holds_little_for_a_client_that_does_not_read() -> None:
    """By default it takes megabytes for each, which count against the pod's memory limit."""
    made = 0

    def blocks() -> Iterator[bytes]:
        nonlocal made
        while True:
            made += 1 << 16
            yield bytes(1 << 16)

    server = Server(lambda head: Route(lambda request: Response(body=blocks(), length=1 << 40)))
    (listener,) = bind(0)
    acceptor = Acceptor(server, listener, partial(Opening, server))
    await acceptor.start()
    client = socket.create_connection(("127.0.0.1", listener.getsockname()[1]), PATIENCE)
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: server.budget.used > 1 << 15)  # the part that the kernel did not take
    assert made <= 1 << 20
    client.close()
    await acceptor.finish()
    await server.drain(0)


async def test_clients_that_vanish_are_noticed() -> None:
    """The kernel probes idle ones, after as many seconds as in Go."""
    found = list[int]()

    class Watched(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            found.append(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
                found.append(accepted.getsockopt(socket.IPPROTO_TCP, option))

    (listener,) = bind(0)
    acceptor = Acceptor(Server(find_route), listener, Watched)
    await acceptor.start()
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), PATIENCE):
        await until(lambda: len(found) == 3)
    await acceptor.finish()
    assert found == [1, 15, 15]


class Short(socket.socket):
    """A listener whose process has no file descriptor left, while it is set."""

    shortage = 0
    asked = 0

    def accept(self) -> Any:
        """Fails like the kernel."""
        self.asked += 1
        if self.shortage:
            raise OSError(self.shortage, "Too many open files")
        return super().accept()


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_descriptors_clients_wait(shortage: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The loop does not spin, one log line per second reports it, and they are served later."""
    (plain,) = bind(0)
    listener = Short(plain.family, plain.type, plain.proto, plain.detach())
    listener.setblocking(False)
    async with place(TOO_MANY, listener) as here:
        begun = time.monotonic()
        listener.shortage = shortage
        client = here.connect()
        answer = asyncio.ensure_future(here.ask(client))
        await asyncio.sleep(0.5)
        assert 0 < listener.asked < 20
        assert not answer.done()
        lines = capsys.readouterr().err.splitlines()
        assert set(lines) == {"error: connections have to wait: Too many open files"}
        assert len(lines) <= 1 + time.monotonic() - begun
        listener.shortage = 0
        assert b"200 OK" in await answer


async def test_without_descriptors_the_idle_make_place() -> None:
    """Even a few among many."""
    (plain,) = bind(0)
    listener = Short(plain.family, plain.type, plain.proto, plain.detach())
    listener.setblocking(False)
    async with place(TOO_MANY, listener) as here:
        idle = here.connect()
        assert b"200 OK" in await here.ask(idle)
        for _ in range(64):
            await here.wait()
        listener.shortage = errno.EMFILE
        here.connect()
        assert await is_closed(idle)
        listener.shortage = 0


async def test_a_client_that_has_gone_again_is_no_matter() -> None:
    """The next is accepted in the same turn."""
    (plain,) = bind(0)
    listener = Short(plain.family, plain.type, plain.proto, plain.detach())
    listener.setblocking(False)
    async with place(listener=listener) as here:
        failures = iter([errno.ECONNABORTED, errno.EPROTO])
        accept = listener.accept

        def fail_first() -> Any:
            listener.shortage = next(failures, 0)
            return accept()

        listener.accept = fail_first  # type: ignore[method-assign]
        assert b"200 OK" in await here.ask(here.connect())


@pytest.mark.parametrize("count", [1, 300])
async def test_no_connection_is_lost_at_the_end(count: int) -> None:
    """Connections that the kernel accepted before the listener closes get their answer."""
    async with place() as here:
        clients = [here.connect() for _ in range(count)]
        here.server.draining = True
        await here.acceptor.finish()
        answers = await asyncio.gather(*[here.ask(client) for client in clients])
        assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
        with pytest.raises(ConnectionRefusedError):
            here.connect()


async def test_no_connection_begins_while_the_listener_closes() -> None:
    """One between the last accept and the close would be reset; its client is refused instead."""
    async with place() as here:
        ending = asyncio.ensure_future(here.acceptor.finish())
        await asyncio.sleep(0)
        with socket.socket() as late:
            late.setblocking(False)
            begun = time.monotonic()
            assert late.connect_ex(("127.0.0.1", here.port)) == errno.EINPROGRESS
            with pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(late, ("127.0.0.1", here.port))
            assert time.monotonic() - begun > 0.5
        await ending


async def test_another_process_goes_on_with_a_listener_that_is_left_to_it() -> None:
    """As when a worker is replaced: its listener stays open."""
    (listener,) = bind(0)
    with listener.dup() as other:
        async with place(listener=listener) as here:
            await here.acceptor.finish(keep_open=True)
            client = here.connect()
            connection, _ = await asyncio.get_running_loop().sock_accept(other)
            with connection:
                assert connection.getpeername()[1] == client.getsockname()[1]


def test_uvloops_own_server(capsys: pytest.CaptureFixture[str]) -> None:
    """It accepts the connections if there are enough file descriptors, and with the same results."""
    uvloop: Any = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for test in (
            test_who_is_idle_longest_makes_place(),
            test_where_all_are_busy_others_are_refused(capsys),
            test_many_are_accepted_at_once(),
            test_clients_that_vanish_are_noticed(),
            test_without_descriptors_clients_wait(errno.EMFILE, capsys),
            test_no_connection_is_lost_at_the_end(300),
            test_no_connection_begins_while_the_listener_closes(),
            test_another_process_goes_on_with_a_listener_that_is_left_to_it(),
        ):
            runner.run(test)
