"""A number that processes share, and that wakes those who wait for it to change."""

import asyncio
import fcntl
import mmap
import os
from collections import deque
from contextlib import suppress
from typing import Final

_AT_ONCE: Final = 64  # waiters that are woken before others get their turn


class SharedNumber:
    """For the process that makes it and those that are forked from it, `processes` of which wait for changes.

    All have the value in common, but who waits in a process is known to that process alone. So each has a bell
    that the others ring: a file descriptor on which it listens from the first wait on. Linux only, but for one
    process alone.
    """

    def __init__(self, value: int, processes: int = 1) -> None:
        self._memory = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")
        self._memory[0] = value
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._bells: list[int] = []
        self._is_listening = processes == 1
        if processes > 1:
            self._bells = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(processes)]
            self._claims = os.memfd_create("bells")

    @property
    def value(self) -> int:
        """A number of 32 bits."""
        return self._memory[0]

    @value.setter
    def value(self, value: int) -> None:
        self._memory[0] = value
        self._wake()
        for bell in self._bells:
            with suppress(BlockingIOError):  # nobody has listened for 2**64 changes
                os.eventfd_write(bell, 1)

    async def wait_for_change(self) -> None:
        """Return when the value may have changed since the call."""
        loop = asyncio.get_running_loop()
        if not self._is_listening:
            self._is_listening = True
            loop.add_reader(bell := self._claim_bell(), self._on_bell, bell)
        changed: asyncio.Future[None] = loop.create_future()
        self._waiting.append(changed)
        await changed

    def _claim_bell(self) -> int:
        """A bell that no other process listens on: each locks the byte of its own, until it ends."""
        for number, bell in enumerate(self._bells):
            with suppress(OSError):
                fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                return bell
        raise RuntimeError("more processes than event descriptors")

    def _on_bell(self, bell: int) -> None:
        os.eventfd_read(bell)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        if waiting:
            _wake_some(waiting)


def _wake_some(waiting: deque[asyncio.Future[None]]) -> None:
    loop = waiting[0].get_loop()
    for _ in range(min(_AT_ONCE, len(waiting))):
        changed = waiting.popleft()
        if not changed.done():
            changed.set_result(None)
    if waiting:
        loop.call_soon(_wake_some, waiting)
