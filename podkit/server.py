"""What the connections of a process share: routes, limits, budgets, clock, log; and their end."""

import asyncio
import itertools
import time
from email.utils import formatdate
from typing import Protocol

from podkit.budget import Budget
from podkit.limits import Limits
from podkit.log import AccessLog
from podkit.message import Client, Tls, render_address
from podkit.routes import FindRoute

_DRAIN_INTERVAL = 0.02  # seconds between two looks at the connections that are left


class Connection(Protocol):
    """A client's connection, whatever it speaks."""

    def check(self, now: float) -> None:
        """End what has stood still for too long; `now` is in seconds of the monotonic clock."""

    def say_goodbye(self) -> None:
        """The server leaves: take no new work, where the protocol has a way to say so."""

    def close_if_quiet(self, now: float) -> None:
        """Close now if nothing is under way and nothing has just been sent."""

    def abort(self) -> None:
        """Close at once."""


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
            self._line = b"Date: %s\r\n" % formatdate(int(moment), usegmt=True).encode()
        return self._line

    def date(self) -> bytes:
        """The value alone."""
        return self.date_line(time.monotonic())[6:-2]


class Server:
    """One for each process. `worker` is the process's number, 1 for the first."""

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
        self.find_call = find_call  # the routes of gRPC, where it is served
        self.limits = limits or Limits()
        self.access_log = access_log
        self.budget = Budget(self.limits.budget)
        self.room = Budget(self.limits.connections)
        self.clock = Clock()
        self.draining = False
        self.connections: set[Connection] = set()
        self._worker = worker
        self._numbers = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None

    def new_client(self, transport: asyncio.BaseTransport) -> Client:
        """The client at the other end of a transport."""
        tls: Tls | None = transport.get_extra_info("tls")
        peer = render_address(transport.get_extra_info("peername"))
        return Client(f"w{self._worker}-{next(self._numbers):x}", peer, time.monotonic(), tls)

    def start(self) -> None:
        """Look after the connections' times from now on, in the running event loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.limits.check_interval, self._check)

    def _check(self) -> None:
        now = time.monotonic()
        for connection in tuple(self.connections):
            connection.check(now)
        self.start()

    async def drain(self, grace_period: float) -> None:
        """Let every request be answered, for at most `grace_period` seconds, and close all connections.

        A connection that has sent nothing for a moment is closed; any other after its next answer.
        """
        self.draining = True
        deadline = time.monotonic() + grace_period
        for connection in tuple(self.connections):
            connection.say_goodbye()
        while self.connections and (now := time.monotonic()) < deadline:
            for connection in tuple(self.connections):
                connection.close_if_quiet(now)
            await asyncio.sleep(_DRAIN_INTERVAL)
        for connection in tuple(self.connections):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # for the transports to close
