"""A program's lifecycle: bind, serve, drain, exit."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from podkit.log import Log, log_line
from podkit.message import render_address
from podkit.opening import Opening
from podkit.pod.pod import Pod
from podkit.process.acceptor import Acceptor
from podkit.process.ending import Ending, ending_signals
from podkit.process.listen import bind
from podkit.process.settings import Settings
from podkit.process.workers import reap, supervise
from podkit.server import Server
from podkit.tls.secure import secure

if TYPE_CHECKING:
    from podkit.tls.certificates import Certificates


# options of glibc's mallopt (man 3 mallopt)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_OBJECTS = 5000  # allocations minus frees between two garbage collections; Python's default is 700


@dataclass(frozen=True)
class Service:
    """What a process serves: a server for a pod, and its settings."""

    program: str
    settings: Settings
    pod: Pod
    build_server: Callable[..., Server]  # takes the argument `worker`, like Server
    certificates: "Certificates | None"
    logs: tuple[Log, ...]  # the first is standard error


def run(service: Service) -> int:
    """Serves until a signal, in one process or several; returns the exit status.

    Raises ListenError.
    """
    _raise_file_limit()
    listeners = bind(service.settings.port, service.settings.workers)
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # by default they would end the process
        signal.signal(number, signal.SIG_IGN)
    logging.disable()  # we log what matters ourselves
    _set_up_malloc()
    # existing objects stay, and connections are freed without the collector, so it may run less often
    gc.freeze()
    gc.set_threshold(_OBJECTS)
    with contextlib.redirect_stderr(service.logs[0]):  # so that no writer blocks
        if len(listeners) == 1:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # process 1 adopts orphans; the kernel reaps them
            list(reap())  # those that have already exited
            _run(service, listeners[0])
            return 0
        signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())  # until each process is ready for them
        log_line(f"{service.program}: {_listening(service, listeners[0])} with {len(listeners)} workers")
        return supervise(service.program, listeners, partial(_run, service))


def _set_up_malloc() -> None:
    """Makes the memory of large bodies return to the system, and that of small ones stay.

    By default, glibc raises both thresholds with each large block that is freed: later ones fragment the heap.
    Before that, it returns the heap's end so early that each body faults it in again page by page.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 256 << 10)
        mallopt(_M_TRIM_THRESHOLD, 4 << 20)


def _raise_file_limit() -> None:
    """Raises the file limit to the hard limit; the soft limit is for programs that use select()."""
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listening(service: Service, listener: socket.socket) -> str:
    scheme = "https" if service.certificates else "http"
    return f"listening on {scheme}://{render_address(listener.getsockname())}"


def _run(service: Service, listener: socket.socket, worker: int = 1, lifeline: int | None = None) -> None:
    """Serves on uvloop, or on asyncio's loop without uvloop."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(service, listener, worker, lifeline))
    finally:
        for log in service.logs:
            log.finish()


async def _serve(service: Service, listener: socket.socket, worker: int, lifeline: int | None) -> None:
    """Serves until a signal, or until the end of a worker's lifeline (see `Ending`)."""
    asyncio.get_running_loop().set_exception_handler(_on_loop_error)
    name = service.program if lifeline is None else f"{service.program}: worker {os.getpid()}"
    ending = Ending(name, lifeline)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*ending_signals(), signal.SIGCHLD})
    with service.pod.watching():
        server = service.build_server(worker=worker)
        build: Callable[..., asyncio.Protocol] = partial(Opening, server)
        if service.certificates is not None:
            build = secure(server, service.certificates, build)
        if service.settings.proxy_protocol:
            from podkit.proxy_protocol.connection import ProxyProtocolFactory

            build = ProxyProtocolFactory(server, build)
        acceptor = Acceptor(server, listener, build)
        server.start()
        await acceptor.start()
        if lifeline is None:
            log_line(f"{name}: {_listening(service, listener)}")
        await ending.follow(server, acceptor, service.pod, service.settings)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs an uncaught exception in one line."""
    problem = context.get("exception")
    log_line(f"error: {context.get('message')}" + (f": {problem!r}" if problem else ""))
