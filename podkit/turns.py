"""Deferred work of connections, done in turns so that it does not block the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

SHORT: Final = 512  # bytes of a read whose work is too short to be noted or put off


class Turn:
    """Deferred work."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work

    def cancel(self) -> None:
        """Drops the work."""
        self.work = None


class Turns:
    """Runs deferred work in order, for about `seconds` between two polls of the sockets.

    Connections do the work of a read immediately, unless it is long, and others wait or have taken the time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[Turn] = deque()
        self._is_due = False
        self._spent = 0.0  # seconds of immediate work since the last poll
        self.is_full = False  # work has to be put off

    def spend(self, seconds: float) -> None:
        """Notes immediate work."""
        if not self._spent:
            asyncio.get_running_loop().call_soon(self._refill)
        self._spent += seconds
        self.is_full = self.is_full or self._spent >= self._seconds

    def _refill(self) -> None:
        self._spent, self.is_full = 0.0, bool(self._waiting)

    def put_off(self, work: Callable[[], None]) -> Turn:
        """Queues work behind all other deferred work."""
        turn = Turn(work)
        self._waiting.append(turn)
        self.is_full = True
        self._go_on()
        return turn

    def _go_on(self) -> None:
        if self._waiting and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        until = time.perf_counter() + self._seconds
        try:
            while self._waiting:
                work = self._waiting.popleft().work
                if work is not None:
                    work()
                if time.perf_counter() >= until:
                    break
        finally:
            self._is_due, self.is_full = False, bool(self._waiting)
            self._go_on()
