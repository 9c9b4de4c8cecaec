"""A process's life: bind, serve, drain, leave."""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from podkit.http1 import Server
from podkit.log import say
from podkit.pod import Pod
from podkit.tls import secure
from podkit.wire import render_address

if TYPE_CHECKING:
    from podkit.certificates import Certificates

_BACKLOG = 1024


class ListenError(Exception):
    """The port can't be had; the text says why and what to do."""


def bind(port: int) -> socket.socket:
    """A listening socket for IPv6 and IPv4 on all addresses, or for IPv4 where there is no IPv6."""
    try:
        listener = _bind(socket.AF_INET6, "::", port)
    except OSError as problem:
        if problem.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise ListenError(_explain(problem, port)) from None
        try:
            listener = _bind(socket.AF_INET, "0.0.0.0", port)
        except OSError as second:
            raise ListenError(_explain(second, port)) from None
    return listener


def _bind(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _explain(problem: OSError, port: int) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"port {port} is taken by another process: choose another with --port"
    if problem.errno == errno.EACCES:
        return f"port {port} is privileged: choose one from 1024 with --port, or allow it to this process"
    return f"port {port} can't be opened: {problem.strerror}"


async def serve(
    program: str,
    listener: socket.socket,
    pod: Pod,
    build_server: Callable[[], Server],
    grace_period: float,
    certificates: "Certificates | None" = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain for at most `grace_period` seconds.

    A second signal ends the process at once.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stopping.is_set():
            say(f"{program}: {number.name} again, leaving at once")
            sys.stdout.flush()
            # the exit status that a shell gives to a process ended by this signal
            raise SystemExit(128 + number)
        say(f"{program}: {number.name}, finishing requests for up to {grace_period:g} s")
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    with pod.watching(loop):
        server = build_server()
        secured = secure(certificates, server) if certificates else None
        acceptor = await loop.create_server(secured or server, sock=listener, backlog=_BACKLOG)
        scheme = "https" if secured else "http"
        say(f"{program}: listening on {scheme}://{render_address(listener.getsockname())}")
        await stopping.wait()
        await asyncio.sleep(0)  # connections that the kernel has accepted already
        acceptor.close()
        server.draining = True
        began = loop.time()
        if secured:
            await secured.settle(grace_period)
        await server.drain(max(0.0, grace_period - (loop.time() - began)))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(acceptor.wait_closed(), 1)
    say(f"{program}: stopped")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run the program's coroutine on uvloop, or on asyncio's own loop where there is no uvloop."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
