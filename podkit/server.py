"""State that all connections of a process share: routes, limits, budgets, clock, log; and shutdown."""

import asyncio
import itertools
import time

from podkit.budget import Budget
from podkit.connections import Connections
from podkit.go.date import render_date
from podkit.limits import Limits
from podkit.log import AccessLog
from podkit.message import UNREADABLE, Client, Head, Response, Tls, render_address
from podkit.routes import FindRoute, Route
from podkit.turns import Turns

_DRAIN_INTERVAL = 0.02  # seconds between two checks of the remaining connections


class Clock:
    """The Date header, rendered once a second."""

    def __init__(self) -> None:
        self._until = 0.0
        self._line = b""

    def date_line(self, now: float) -> bytes:
        """``Date: ...`` with its line end; `now` is in seconds of the monotonic clock."""
        if now >= self._until:
            moment = time.time()
            self._until = time.monotonic() + 1 - moment % 1
            self._line = b"Date: %s\r\n" % render_date(moment)
        return self._line

    def date(self) -> bytes:
        """The value alone."""
        return self.date_line(time.monotonic())[6:-2]


class Server:
    """One per process. `worker` is the process's number, starting at 1."""

    def __init__(
        self,
        find_route: FindRoute,
        *,
        find_call: FindRoute | None = None,
        limits: Limits | None = None,
        access_log: AccessLog | None = None,
        worker: int = 1,
    ) -> None:
        self.find_route = find_route
        self.find_call = find_call  # finds gRPC routes, if gRPC is enabled
        self.limits = limits or Limits()
        self.access_log = access_log
        self.budget = Budget(self.limits.budget)
        self.turns = Turns(self.limits.turn_time)
        self.clock = Clock()
        self.draining = False
        self.room = Budget(self.limits.connections)
        self.connections = Connections(self.room, self.limits.connection_cost)
        self.newest: Client | None = None
        # of HTTP/1.1, its parsed form, and its route
        self.last_head: tuple[bytes | None, Head, Route] = None, UNREADABLE, find_route(UNREADABLE)
        # a reusable one, its Date, whether the connection closes after it, and all that rendered
        self.last_answer: tuple[Response | None, bytes, bool, bytes] = None, b"", False, b""
        self.answered = 0  # requests
        self._worker = worker
        self._numbers = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None

    def new_client(self, transport: asyncio.BaseTransport) -> Client:
        """Creates the client for a transport."""
        tls: Tls | None = transport.get_extra_info("tls")
        peer = render_address(transport.get_extra_info("peername"))
        client = Client(f"w{self._worker}-{next(self._numbers):x}", peer, time.monotonic(), tls)
        self.newest = client
        return client

    def in_flight(self) -> int:
        """The number of requests in flight."""
        return sum(connection.in_flight() for connection in self.connections)

    def start(self) -> None:
        """Starts checking the connections' timeouts in the running event loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.limits.check_interval, self._check)

    def _check(self) -> None:
        now = time.monotonic()
        for connection in self.connections:
            connection.check(now)
        self.start()

    async def drain(self, grace_period: float) -> int:
        """Finishes all requests, for at most `grace_period` seconds, and closes all connections.

        A connection that has been quiet for a moment is closed; any other after its next answer. Returns the
        number of requests that were cut.
        """
        self.draining = True
        deadline = time.monotonic() + grace_period
        for connection in self.connections:
            connection.say_goodbye()
        while self.connections and (now := time.monotonic()) < deadline:
            for connection in self.connections:
                connection.close_if_quiet(now - self.limits.quiet)
            await asyncio.sleep(_DRAIN_INTERVAL)
        cut = self.in_flight()
        for connection in self.connections:
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # lets the transports close
        return cut
