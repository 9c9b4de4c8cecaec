"""Deferred work of connections, done in turns so that it does not block the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

SHORT: Final = 512  # bytes of a read; unless it holds many requests, its work is not noted or put off
_LONG: Final = 0.008  # seconds of work after which others come first
_TASKS: Final = 16  # that may go on between two polls
_ITERATIONS: Final = 4  # of the loop, in which a new connection is accepted and its first request answered


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
        self._spent = 0.0  # seconds of work since the last poll
        self._resumed = 0  # tasks since the last poll
        self._rest = 0  # iterations of the loop until the next work
        self._has_worked = True  # since the last rest
        self.is_full = False  # long work has to be put off

    def put_off(self, work: Callable[[], None]) -> Turn:
        """Queues work behind all other deferred work."""
        turn = Turn(work)
        self._waiting.append(turn)
        self._go_on()
        return turn

    async def wait(self) -> None:
        """Lets a task go on behind all deferred work."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.put_off(partial(self._resume, turn))
        await turn

    def _resume(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_result(None)
            self._resumed += 1

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancels a task behind all deferred work; it may go on until then."""
        self.put_off(partial(self._cancel, task))

    def _cancel(self, task: asyncio.Task[None]) -> None:
        self._resumed += task.cancel()

    def spend(self, seconds: float) -> None:
        """Notes immediate work."""
        self._spent += seconds
        self._go_on()

    def _go_on(self) -> None:
        self.is_full = bool(self._waiting or self._rest or self._spent > self._seconds)
        if not self._is_due and (self.is_full or self._spent):
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._is_due = False
        if self._spent > _LONG and self._has_worked:
            self._rest, self._has_worked = _ITERATIONS, False
        start, self._spent, self._resumed = time.perf_counter(), 0.0, 0
        try:
            if self._rest:
                self._rest -= 1
                return
            while self._waiting:
                self._has_worked = True
                work = self._waiting.popleft().work
                if work is not None:
                    work()
                self._spent = time.perf_counter() - start
                if self._spent >= self._seconds or self._resumed >= _TASKS:
                    break
        finally:
            self._go_on()
