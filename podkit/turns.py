"""Deferred work of connections, done in turns so that it does not block the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable


class Turn:
    """Deferred work."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work

    def cancel(self) -> None:
        """Drops the work."""
        self.work = None


class Turns:
    """Runs deferred work in order, for about `seconds` between two polls of the sockets."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[Turn] = deque()
        self._is_due = False

    def put_off(self, work: Callable[[], None]) -> Turn:
        """Queues work behind all other deferred work."""
        turn = Turn(work)
        self._waiting.append(turn)
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
            self._is_due = False
            self._go_on()
