"""The connections of a process: who is connected, how much room that takes, and who makes place for others."""

import heapq
from collections.abc import Iterator
from typing import Protocol

from podkit.budget import Budget


class Connection(Protocol):
    """A client's connection, whatever it speaks. Times are in seconds of the monotonic clock."""

    def check(self, now: float) -> None:
        """End what has stood still for too long."""

    def in_flight(self) -> int:
        """How many requests are under way."""

    def idle_since(self) -> float | None:
        """Since when no request is under way; None while one is."""

    def say_goodbye(self) -> None:
        """The server leaves: take no new work, where the protocol has a way to say so."""

    def close_if_quiet(self, now: float) -> None:
        """Close now if nothing is under way and nothing has just been sent."""

    def abort(self) -> None:
        """Close at once."""


class Connections:
    """All connections. Each takes `cost` bytes of the room; TLS and HTTP/2 take what they need beside that."""

    def __init__(self, room: Budget, cost: int) -> None:
        self._room = room
        self._cost = cost
        self._all: set[Connection] = set()

    def add(self, connection: Connection) -> None:
        """A connection is there."""
        self._all.add(connection)
        self._room.used += self._cost

    def discard(self, connection: Connection) -> None:
        """A connection is gone, or another protocol has it."""
        if connection in self._all:
            self._all.remove(connection)
            self._room.used -= self._cost

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        """Those that are there now, whatever happens to them meanwhile."""
        return iter(tuple(self._all))

    def has_room(self, more: int) -> bool:
        """Whether one that may take `more` bytes fits; if need be, those idle longest are closed for it."""
        return self._room.used + self._cost + more <= self._room.total or self.make_room()

    def make_room(self) -> bool:
        """Close the connections that have been idle longest; whether there were any."""
        idle = [(since, id(each), each) for each in self._all if (since := each.idle_since()) is not None]
        # more than one where there are many, since to look for them takes its time
        oldest = heapq.nsmallest(len(self._all) // 32 + 1, idle)
        for _, _, connection in oldest:
            connection.abort()
            self.discard(connection)
        return bool(oldest)
