"""Facts about the pod: host name, addresses, node."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from podkit.pod import netlink

T = TypeVar("T")

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # temporary errors


class Pod:
    """What the server knows about its environment; current while it is watched."""

    def __init__(self, node_name: str = "", *, interval: float = 1.0) -> None:
        self.node_name = node_name
        self.hostname = socket.gethostname()
        self.addresses: list[str] = []
        self.leaving = asyncio.Event()  # set when shutdown starts
        self._is_stale = True  # the addresses
        self._interval = interval  # seconds between two polls
        self._rendered: dict[Any, Any] = {}
        self._read_addresses()

    def rendered(self, render: Callable[..., T], *arguments: Any) -> T:
        """Returns ``render(pod, *arguments)``, cached until the pod's facts change.

        The arguments must not come from clients, because the cache has no other bound.
        """
        key = (render, arguments)
        if key not in self._rendered:
            self._rendered[key] = render(self, *arguments)
        found: T = self._rendered[key]
        return found

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Follows changes in the running event loop while the context is open.

        The kernel reports address changes immediately. The host name is polled every `interval` seconds, and so
        are the addresses on systems without rtnetlink.
        """
        with contextlib.ExitStack() as end:
            is_told = self._subscribe(end)
            ticking = asyncio.create_task(self._tick(is_told))
            end.callback(ticking.cancel)
            yield

    def _subscribe(self, end: contextlib.ExitStack) -> bool:
        try:
            events = end.enter_context(netlink.subscribe())
        except (OSError, AttributeError):  # no rtnetlink
            return False
        loop = asyncio.get_running_loop()
        loop.add_reader(events, self._on_change, events)
        end.callback(loop.remove_reader, events)
        self._read_addresses()
        return True

    def _on_change(self, events: socket.socket) -> None:
        with contextlib.suppress(OSError):  # ENOBUFS reports an overrun: read the addresses again anyway
            while events.recv(1 << 16):
                pass
        self._read_addresses()

    async def _tick(self, is_told: bool) -> None:
        while True:
            hostname = socket.gethostname()
            if hostname != self.hostname:
                self.hostname = hostname
                self._rendered.clear()
            if self._is_stale or not is_told:
                self._read_addresses()
            await asyncio.sleep(self._interval)

    def _read_addresses(self) -> None:
        try:
            addresses = netlink.read_addresses()
        except (OSError, AttributeError) as problem:
            self._is_stale = getattr(problem, "errno", 0) in _SHORTAGES
            if self._is_stale:
                return
            addresses = _resolve_addresses(self.hostname)
        self._is_stale = False
        if addresses != self.addresses:
            self.addresses = addresses
            self._rendered.clear()


def _resolve_addresses(hostname: str) -> list[str]:
    """Resolves the host name to addresses, for systems without rtnetlink."""
    with contextlib.suppress(OSError):
        return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(hostname, None)))
    return []
