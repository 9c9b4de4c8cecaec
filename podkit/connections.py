"""The open connections of a process, their memory cost, and which ones to close to make room."""

import asyncio
import heapq
import itertools
from collections.abc import Iterator

from podkit.budget import Budget

_PART = 32  # at most one in so many connections is closed at once to make room


class Connection(asyncio.Protocol):
    """A client's connection, of any protocol. Times are in seconds of the monotonic clock.

    The defaults suit a connection that has no request yet.
    """

    _transport: asyncio.Transport
    _last_seen: float  # time of the client's last bytes

    def check(self, now: float) -> None:
        """Closes the connection, or a part of it, if a timeout has passed."""
        raise NotImplementedError

    def in_flight(self) -> int:
        """The number of requests in flight."""
        return 0

    def idle_since(self) -> float | None:
        """Since when no request has been in flight; None while one is."""
        return self._last_seen

    def say_goodbye(self) -> None:
        """Tells the client, if the protocol can, that the server is shutting down and takes no new requests."""

    def close_if_quiet(self, since: float) -> None:
        """Closes the connection if no request is in flight and nothing has happened since that time."""
        if self._last_seen < since:
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection immediately."""
        self._transport.abort()


class Connections:
    """All connections. Each costs `cost` bytes; TLS and HTTP/2 charge their own cost in addition."""

    def __init__(self, room: Budget, cost: int) -> None:
        self._room = room
        self._cost = cost
        self._all: dict[Connection, None] = {}  # in order of arrival

    def add(self, connection: Connection) -> None:
        """Adds a new connection."""
        self._all[connection] = None
        self._room.used += self._cost

    def discard(self, connection: Connection) -> None:
        """Removes a connection that is closed or has switched to another protocol."""
        if connection in self._all:
            del self._all[connection]
            self._room.used -= self._cost

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        """Iterates over a snapshot, so that connections may come and go meanwhile."""
        return iter(tuple(self._all))

    def has_room(self, more: int) -> bool:
        """Whether a connection of up to `more` bytes fits."""
        return self._room.used + self._cost + more <= self._room.total

    # several are closed at a time, because searching many connections takes long

    def close_idle(self, spare_few: bool = False) -> bool:
        """Closes the connections that have been idle longest; returns whether there were any.

        With `spare_few`, none is closed if hardly any is idle: those are new, and their requests on the way.
        """
        count = len(self._all) // _PART
        idle = [(since, id(each), each) for each in self._all if (since := each.idle_since()) is not None]
        if spare_few and len(idle) <= count:
            return False
        self._close([connection for _, _, connection in heapq.nsmallest(count + 1, idle)])
        return bool(idle)

    def close_recent(self) -> bool:
        """Closes recent connections, but not the newest, which get a chance; False if there are few."""
        count = len(self._all) // _PART
        self._close(list(itertools.islice(reversed(self._all), count, 2 * count)))
        return count > 0

    def _close(self, chosen: list[Connection]) -> None:
        for connection in chosen:
            connection.abort()
            self.discard(connection)
