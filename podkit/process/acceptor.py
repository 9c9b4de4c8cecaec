"""Accepts connections in the event loop, as many as there is room for."""

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable
from typing import Final, cast

from podkit.log import log_line
from podkit.process.listen import BACKLOG, refuse_new
from podkit.server import Server

# errors of accept() about a client that has disconnected or is unreachable (man 2 accept)
_GONE: Final = {
    *(errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.EPERM, errno.ETIMEDOUT, errno.EOPNOTSUPP),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOPROTOOPT),
}
_AT_ONCE: Final = 64  # connections, before existing ones get their turn
_LOOP_SERVERS: Final = 16  # each accepts one connection per iteration of the loop
_PAUSE: Final = 0.1  # seconds to wait when the system is out of resources
_LAST_LOOK: Final = 0.1  # seconds for TCP handshakes in progress when the listener closes
_OTHER_FILES: Final = 256  # descriptors for everything but connections


class _Refused(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Closes it."""
        cast(asyncio.Transport, transport).abort()


class Acceptor:
    """Gives each connection a protocol from `build_protocol`, between `start` and `finish`.

    uvloop's own server costs least, but it closes new connections if file descriptors run out. So it is used
    only if there are enough of them. (asyncio's loses connections when it closes.) And it accepts slowly while
    the loop is busy, so several share the listener.
    """

    def __init__(
        self, server: Server, listener: socket.socket, build_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._server = server
        self._listener = listener
        self._build_protocol = build_protocol
        self._loop_servers: list[asyncio.Server] = []
        self._opening: set[asyncio.Task[object]] = set()
        self._more = server.limits.tls_cost + server.limits.http2_cost  # the most that a connection may cost
        self._told_at = 0.0  # when the last problem was logged

    async def start(self) -> None:
        """Accepts connections in the running event loop."""
        self._loop = asyncio.get_running_loop()
        if not isinstance(self._loop, asyncio.BaseEventLoop) and self._has_descriptors():
            for _ in range(_LOOP_SERVERS):
                self._loop_servers.append(
                    await self._loop.create_server(
                        self._build_if_room, sock=self._listener.dup(), backlog=BACKLOG
                    )
                )
        else:
            self._loop.add_reader(self._listener, self._accept)

    def _has_descriptors(self) -> bool:
        limits, available = self._server.limits, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        needed = limits.connections // limits.connection_cost + _OTHER_FILES
        return available == resource.RLIM_INFINITY or available >= needed

    def _build_if_room(self) -> asyncio.Protocol:
        return self._build_protocol() if self._has_room() else _Refused()

    def _has_room(self) -> bool:
        connections = self._server.connections
        if connections.has_room(self._more) or connections.close_idle(spare_few=True):
            return True
        if connections.close_recent():
            self._tell("recent connections are closed for new ones: all that there is room for are busy")
            return True
        self._tell("connections are refused: all that there is room for are busy")
        return False

    async def finish(self, keep_open: bool = False) -> None:
        """Accepts all connections that have begun, and closes the listener.

        With `keep_open`, connections that another process still accepts are left to it.
        """
        for loop_server in self._loop_servers:
            loop_server.close()
        if self._loop_servers and not keep_open:
            self._loop.add_reader(self._listener, self._accept)
        if not keep_open:
            refuse_new(self._listener)
        await asyncio.sleep(_LAST_LOOK)  # also until accepted connections have their protocol
        if not keep_open:
            while self._accept():
                pass
        self._loop.remove_reader(self._listener)
        self._listener.close()
        while self._opening:
            await asyncio.wait(self._opening)

    def _accept(self) -> bool:
        """Accepts one connection; returns whether there may be more."""
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return False
            except OSError as problem:
                if problem.errno in _GONE:
                    continue
                self._pause(problem)
                return False
            if self._has_room():
                opening = self._loop.create_task(
                    self._loop.connect_accepted_socket(self._build_protocol, connection)
                )
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)
            else:
                connection.close()
        return True

    def _pause(self, problem: OSError) -> None:
        """Waits briefly, because the system is out of something such as file descriptors."""
        self._server.connections.close_idle()
        self._tell(f"connections have to wait: {problem.strerror}")
        self._loop.remove_reader(self._listener)
        self._loop.call_later(_PAUSE, self._resume)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _tell(self, text: str) -> None:
        """Logs a problem, at most once a second."""
        now = time.monotonic()
        if now - self._told_at >= 1:
            self._told_at = now
            log_line(f"error: {text}")
