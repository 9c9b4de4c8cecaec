"""The kernel's view of a connection: unread and unsent bytes, and which sides have closed it."""

import asyncio
import fcntl
import select
import struct
import termios

_TIOCOUTQ = getattr(termios, "TIOCOUTQ", None)
_POLLRDHUP = getattr(select, "POLLRDHUP", 0x2000)


def _count(transport: asyncio.Transport, request: int | None) -> int:
    handle = transport.get_extra_info("socket")
    if handle is None or request is None:
        return 0
    try:
        count: int = struct.unpack("i", fcntl.ioctl(handle.fileno(), request, bytes(4)))[0]
    except OSError:
        return 0
    return count


def unread_bytes(transport: asyncio.Transport) -> int:
    """Bytes that have arrived but have not been read."""
    return _count(transport, termios.FIONREAD)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes that have been written but not acknowledged by the client."""
    return transport.get_write_buffer_size() + _count(transport, _TIOCOUTQ)


def has_hung_up(transport: asyncio.Transport) -> bool:
    """Whether the client has sent FIN, even if unread bytes precede it."""
    handle = transport.get_extra_info("socket")
    if handle is None:
        return False
    poll = select.poll()
    poll.register(handle.fileno(), _POLLRDHUP)
    return bool(poll.poll(0))


def end_output(transport: asyncio.Transport) -> None:
    """Half-closes, once everything is sent. If the client has closed the connection, so do we."""
    try:
        transport.write_eof()
    except OSError:  # asyncio's transports half-close at once, and do not handle a reset by the client
        transport.abort()
