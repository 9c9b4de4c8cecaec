"""A number shared by processes, with notification of changes."""

import asyncio
import fcntl
import mmap
import os
from collections import deque
from contextlib import suppress
from typing import Final

_AT_ONCE: Final = 64  # waiters to wake per loop iteration


class SharedNumber:
    """Shared by a process and its forks, `processes` of which may wait for changes.

    The value is shared memory, but each process knows only its own waiters. So each has an event descriptor
    that the others signal and that it watches from the first wait on. With several processes, Linux only.
    """

    def __init__(self, value: int, processes: int = 1) -> None:
        self._memory = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")
        self._memory[0] = value
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._due: deque[asyncio.Future[None]] = deque()  # to wake
        self._bells: list[int] = []
        self._is_listening = processes == 1
        if processes > 1:
            self._bells = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(processes)]
            self._claims = os.memfd_create("bells")

    @property
    def value(self) -> int:
        """An unsigned 32-bit number."""
        return self._memory[0]

    @value.setter
    def value(self, value: int) -> None:
        self._memory[0] = value
        self._wake()
        for bell in self._bells:
            with suppress(BlockingIOError):  # nobody has read it for 2**64 changes
                os.eventfd_write(bell, 1)

    async def wait_for_change(self) -> None:
        """Returns when the value may have changed since the call."""
        loop = asyncio.get_running_loop()
        if not self._is_listening:
            self._is_listening = True
            loop.add_reader(bell := self._claim_bell(), self._on_bell, bell)
        changed: asyncio.Future[None] = loop.create_future()
        self._waiting.append(changed)
        await changed

    def _claim_bell(self) -> int:
        """Claims an unwatched event descriptor, by locking one byte until the process exits."""
        for number, bell in enumerate(self._bells):
            with suppress(OSError):
                fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                return bell
        raise RuntimeError("more processes than event descriptors")

    def _on_bell(self, bell: int) -> None:
        os.eventfd_read(bell)
        self._wake()

    def _wake(self) -> None:
        is_under_way = bool(self._due)
        self._due += self._waiting
        self._waiting.clear()
        if not is_under_way:
            self._wake_some()

    def _wake_some(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._due))):
            changed = self._due.popleft()
            if not changed.done():
                changed.set_result(None)
        if self._due:
            self._due[0].get_loop().call_soon(self._wake_some)
