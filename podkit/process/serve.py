"""A program's life: bind, serve, drain, leave."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from podkit.errors import ListenError
from podkit.log import Log, log_line
from podkit.message import render_address
from podkit.opening import Opening
from podkit.pod.pod import Pod
from podkit.process.settings import Settings
from podkit.process.workers import SIGNALS, supervise
from podkit.server import Server
from podkit.tls.secure import secure

if TYPE_CHECKING:
    from podkit.tls.certificates import Certificates

_BACKLOG = 1024


def bind(port: int, count: int = 1) -> list[socket.socket]:
    """Listening sockets for IPv6 and IPv4 on all addresses, or for IPv4 where there is no IPv6.

    Several of them share one port, and the kernel spreads connections over them.
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
        if count > 1:  # the first bind alone tells whether another process has the port
            port = first.getsockname()[1]
            first.close()
            listeners = [_bind(family, address, port, shared=True) for _ in range(count)]
        for listener in listeners:
            listener.listen(_BACKLOG)
    except OSError as problem:
        raise ListenError(_explain(problem, port)) from None
    return listeners


def _bind(family: socket.AddressFamily, address: str, port: int, shared: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
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


@dataclass(frozen=True)
class Service:
    """What a process serves: a server, of what pod, and how."""

    program: str
    settings: Settings
    pod: Pod
    build_server: Callable[[], Server]
    certificates: "Certificates | None"
    logs: tuple[Log, ...]  # the first on standard error


def run(service: Service) -> int:
    """Serve until a signal ends it, in one process or several; the exit status.

    Raises ListenError.
    """
    workers = service.settings.workers
    listeners = bind(service.settings.port, workers)
    with contextlib.redirect_stderr(service.logs[0]):  # whoever writes to it, none waits
        if workers == 1:
            _run(service, listeners[0], None)
            return 0
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until each process is ready for them
        log_line(f"{_listening(service, listeners[0])} with {workers} workers")
        return supervise(service.program, listeners, partial(_run, service))


def _listening(service: Service, listener: socket.socket) -> str:
    scheme = "https" if service.certificates else "http"
    return f"{service.program}: listening on {scheme}://{render_address(listener.getsockname())}"


async def _serve(service: Service, listener: socket.socket, lifeline: int | None) -> None:
    """Serve until SIGTERM or SIGINT, then drain for at most the grace period.

    A second signal ends the process at once. A worker has a lifeline, and leaves the talking to its parent.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    grace_period = service.settings.grace_period
    tell: Callable[[str], None] = log_line if lifeline is None else _keep_quiet

    def on_signal(number: signal.Signals) -> None:
        if stopping.is_set():
            tell(f"{service.program}: {number.name} again, leaving at once")
            # the exit status that a shell gives to a process ended by this signal
            raise SystemExit(128 + number)
        tell(f"{service.program}: {number.name}, finishing requests for up to {grace_period:g} s")
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if lifeline is not None:
        loop.add_reader(lifeline, stopping.set)
    with service.pod.watching():
        server = service.build_server()
        server.start()
        build: Callable[..., asyncio.Protocol] = partial(Opening, server)
        if service.certificates:
            build = secure(server, service.certificates, build)
        if service.settings.proxy_protocol:
            from podkit.proxy_protocol.connection import ProxyProtocolFactory

            build = ProxyProtocolFactory(server, build)
        acceptor = await loop.create_server(build, sock=listener, backlog=_BACKLOG)
        tell(_listening(service, listener))
        await stopping.wait()
        await asyncio.sleep(0)  # connections that the kernel has accepted already
        acceptor.close()
        service.pod.leaving.set()
        await server.drain(grace_period)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(acceptor.wait_closed(), 1)
    tell(f"{service.program}: stopped")


def _keep_quiet(text: str) -> None:
    """Say nothing."""


def _run(service: Service, listener: socket.socket, lifeline: int | None) -> None:
    """Serve on uvloop, or on asyncio's own loop where there is no uvloop."""
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # what matters is said in one line of ours
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(service, listener, lifeline))
    finally:
        for log in service.logs:
            log.finish()
