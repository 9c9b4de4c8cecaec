"""Work that connections put off, so that many of them together do not keep the event loop from the others."""

import asyncio
import time
from collections import deque
from collections.abc import Callable


class Turn:
    """Work that is due."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work

    def cancel(self) -> None:
        """It is not to be done any more."""
        self.work = None


class Turns:
    """Does what was put off in its order, for about `seconds` between two looks at the sockets."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[Turn] = deque()
        self._is_due = False

    def put_off(self, work: Callable[[], None]) -> Turn:
        """Have work done after that of the others."""
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
