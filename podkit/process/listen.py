"""Listening sockets: opening them, sharing them among workers, and closing them without losing connections."""

import array
import errno
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

from podkit.errors import ListenError
from podkit.limits import Limits

BACKLOG: Final = 1024
# socket options that connections inherit, where the system has them
_OPTIONS: Final = (
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", Limits().max_unsent),
    # seconds, as in Go, after which idle clients are probed, so that vanished ones are noticed
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
)
_SO_ATTACH_FILTER: Final = 26
# classic BPF (man 7 socket, SO_ATTACH_FILTER; linux/filter.h): code, jump if true, jump if false, value
_REFUSE_SYN: Final = (
    (0x30, 0, 0, 13),  # load the TCP flags byte
    (0x54, 0, 0, 0x12),  # mask SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN without ACK?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # accept
)


def bind(port: int, count: int = 1) -> list[socket.socket]:
    """Opens listening sockets for IPv6 and IPv4 on all addresses, or IPv4 only if there is no IPv6.

    Several sockets share one port, and the kernel spreads connections over them. Raises ListenError.
    """
    family, address = socket.AF_INET6, "::"
    try:
        try:
            first = _bind(family, address, port)
        except OSError as problem:
            if problem.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            family, address = socket.AF_INET, "0.0.0.0"
            first = _bind(family, address, port)
        listeners = [first]
        if count > 1:  # only the first bind detects that another process uses the port
            port = first.getsockname()[1]
            first.close()
            listeners = [_bind(family, address, port, socket.SO_REUSEPORT) for _ in range(count)]
        for listener in listeners:
            listener.listen(BACKLOG)
    except OSError as problem:
        raise ListenError(_explain(problem, port)) from None
    return listeners


def _bind(family: socket.AddressFamily, address: str, port: int, *options: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        # connections of a previous process in TIME_WAIT must not block the port: all its sockets, in both
        # processes, need SO_REUSEADDR
        for option in (socket.SO_REUSEADDR, *options):
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        for level, name, value in _OPTIONS:
            if hasattr(socket, name):
                listener.setsockopt(level, getattr(socket, name), value)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def _explain(problem: OSError, port: int) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another process: choose another with --port"
    if problem.errno == errno.EACCES:
        return f"port {port} is privileged: choose 1024 or above with --port, or allow it for this process"
    return f"port {port} can't be opened: {problem.strerror}"


def refuse_new(listener: socket.socket) -> None:
    """Makes the kernel refuse new connections; existing and half-open ones can still be accepted.

    Closing a listener resets connections that arrive between the last accept and the close. Refused clients
    retry after a second, when the port is closed or belongs to another process.
    """
    program = b"".join(struct.pack("=HBBI", *step) for step in _REFUSE_SYN)
    memory = array.array("B", program)
    if sys.platform == "linux":
        with suppress(OSError):  # no filter support: some connections may be reset
            option = struct.pack("@HP", len(_REFUSE_SYN), memory.buffer_info()[0])
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
