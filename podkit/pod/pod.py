"""The pod's facts: host name, addresses, node. Read once, and again when they change."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

from podkit.pod import netlink

_TIME_TO_LIVE = 1.0  # seconds that a host name is trusted, and addresses where no kernel tells of changes


class Pod:
    """What the server knows of the place where it runs. Endpoints read `hostname` and `addresses`."""

    def __init__(self, node_name: str = "") -> None:
        self.node_name = node_name
        self.hostname = ""
        self.addresses: list[str] = []
        self.generation = 0  # grows with every change, so that what was made of the facts can be kept
        self._events: socket.socket | None = None
        self._fresh_until = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Read the facts that may have changed without notice, at most once a second."""
        now = time.monotonic()
        if now < self._fresh_until:
            return
        self._fresh_until = now + _TIME_TO_LIVE
        hostname = socket.gethostname()
        if hostname != self.hostname:
            self.hostname = hostname
            self.generation += 1
        if self._events is None:
            self._read_addresses()

    @contextlib.contextmanager
    def watching(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Follow address changes by the kernel's notices while inside."""
        try:
            events = netlink.subscribe()
        except (OSError, AttributeError):  # no rtnetlink here: addresses live by their time to live
            yield
            return
        self._events = events
        self._read_addresses()
        loop.add_reader(events, self._on_change)
        try:
            yield
        finally:
            loop.remove_reader(events)
            events.close()
            self._events = None

    def _on_change(self) -> None:
        assert self._events is not None
        with contextlib.suppress(OSError):  # an overrun says so with ENOBUFS: read anew all the same
            while self._events.recv(1 << 16):
                pass
        self._read_addresses()

    def _read_addresses(self) -> None:
        try:
            addresses = netlink.read_addresses()
        except (OSError, AttributeError):
            addresses = _resolve_addresses(self.hostname)
        if addresses != self.addresses:
            self.addresses = addresses
            self.generation += 1


def _resolve_addresses(hostname: str) -> list[str]:
    """The host's addresses by its name, for systems without rtnetlink."""
    with contextlib.suppress(OSError):
        return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(hostname, None)))
    return []
