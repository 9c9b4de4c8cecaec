"""The pod's facts: host name, addresses, node."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from podkit.pod import netlink

T = TypeVar("T")

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # which pass


class Pod:
    """What the server knows of the place where it runs. Endpoints read it; it keeps fresh while watched."""

    def __init__(self, node_name: str = "", *, interval: float = 1.0) -> None:
        self.node_name = node_name
        self.hostname = socket.gethostname()
        self.addresses: list[str] = []
        self.leaving = asyncio.Event()  # set once the process is told to end
        self._is_stale = True  # the addresses
        self._interval = interval  # seconds between two looks at what changes without notice
        self._rendered: dict[Any, Any] = {}
        self._read_addresses()

    def rendered(self, render: Callable[..., T], *arguments: Any) -> T:
        """What ``render(pod, *arguments)`` returns, kept until the pod's facts change.

        The arguments must not come from clients: what is kept for each is bounded by nothing else.
        """
        key = (render, arguments)
        if key not in self._rendered:
            self._rendered[key] = render(self, *arguments)
        found: T = self._rendered[key]
        return found

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Follow changes in the running event loop while inside.

        The kernel tells of addresses at once. The host name is read every `interval` seconds, and so are the
        addresses on systems without rtnetlink.
        """
        with contextlib.ExitStack() as end:
            is_told = self._subscribe(end)
            ticking = asyncio.create_task(self._tick(is_told))
            end.callback(ticking.cancel)
            yield

    def _subscribe(self, end: contextlib.ExitStack) -> bool:
        try:
            events = end.enter_context(netlink.subscribe())
        except (OSError, AttributeError):  # no rtnetlink here
            return False
        loop = asyncio.get_running_loop()
        loop.add_reader(events, self._on_change, events)
        end.callback(loop.remove_reader, events)
        self._read_addresses()
        return True

    def _on_change(self, events: socket.socket) -> None:
        with contextlib.suppress(OSError):  # an overrun says so with ENOBUFS: read anew all the same
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
    """The host's addresses by its name, for systems without rtnetlink."""
    with contextlib.suppress(OSError):
        return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(hostname, None)))
    return []
