"""Several processes on one port: started, restarted when they crash, and stopped together."""

import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from podkit.log import log_line
from podkit.process.ending import ending_signals

_SHORT_LIFE: Final = 1.0  # seconds; a worker that crashes earlier is restarted only after this time

Work = Callable[[socket.socket, int, int], None]


def supervise(program: str, listeners: Sequence[socket.socket], work: Work) -> int:
    """Runs `work` with each listener in its own process until a signal; returns the exit status.

    The caller must block the signals. A crashed worker is restarted; its listener stays open meanwhile, so that
    no client is refused. `work` also gets the worker's number (starting at 1, never reused) and a file
    descriptor that reaches its end when this process exits.
    """
    lifeline, held = os.pipe()
    numbers = itertools.count(1)

    def start(listener: socket.socket) -> int:
        return _start(partial(work, listener, next(numbers), lifeline), listener, listeners, held)

    awaited = {*ending_signals(), signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    workers = {start(listener): (listener, time.monotonic()) for listener in listeners}
    stopping = False
    while True:
        for pid, status in reap():
            found = workers.pop(pid, None)
            if found is None or stopping:
                continue
            listener, born = found
            log_line(f"{program}: worker {pid} {_describe(status)}, starting another")
            time.sleep(max(0.0, _SHORT_LIFE - (time.monotonic() - born)))
            workers[start(listener)] = (listener, time.monotonic())
        if not workers:
            log_line(f"{program}: all workers have exited")
            return 0
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            name = signal.Signals(number).name
            if stopping:
                log_line(f"{program}: {name} again, leaving immediately")
                for pid in workers:
                    os.kill(pid, number)
                return 128 + number
            log_line(f"{program}: {name}: leaving, with {len(workers)} workers")
            for listener in listeners:
                listener.close()  # otherwise the kernel would take connections that nobody accepts
            os.close(held)
            stopping = True


def _start(
    work: Callable[[], None], listener: socket.socket, listeners: Sequence[socket.socket], held: int
) -> int:
    """Forks; returns the child's pid. The child never returns."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)  # Ctrl-C is sent to the first process only, which passes it on
        os.close(held)
        for other in listeners:
            if other is not listener:
                other.close()
        work()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as mistake:
        log_line(f"error: worker {os.getpid()}: {mistake!r}")
    os._exit(status)


def reap() -> Iterator[tuple[int, int]]:
    """Yields the exited processes and their status; process 1 also reaps orphans."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _describe(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
