"""Several processes on one port: started, replaced when they die, and ended together."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from podkit.log import log_line

SIGNALS: Final = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGCHLD))
_SHORT_LIFE: Final = 1.0  # seconds; a worker that died sooner is not replaced sooner


Work = Callable[[socket.socket, int], None]


def supervise(program: str, listeners: Sequence[socket.socket], work: Work) -> int:
    """Run `work` with each listener in a process of its own until a signal ends them all; the exit status.

    A worker that dies is replaced. Its listener stays open meanwhile, so that no client is refused. `work` also
    gets a file descriptor that comes to its end when this process is gone, lest workers outlive it.
    """
    lifeline, held = os.pipe()
    start = partial(_start, work, listeners, lifeline, held)
    workers = {start(listener): (listener, time.monotonic()) for listener in listeners}
    stopping = False
    while workers:
        number = signal.sigwait(SIGNALS)
        if number != signal.SIGCHLD:
            for listener in listeners:
                listener.close()  # else the kernel would take connections that nobody accepts
            for pid in workers:
                os.kill(pid, number)
            if stopping:
                log_line(f"{program}: {signal.Signals(number).name} again, leaving at once")
                return 128 + number
            log_line(f"{program}: {signal.Signals(number).name}, finishing requests")
            stopping = True
        for pid, status in _reap():
            found = workers.pop(pid, None)
            if found is None or stopping:
                continue
            listener, born = found
            log_line(f"{program}: worker {pid} {_describe(status)}, starting another")
            time.sleep(max(0.0, _SHORT_LIFE - (time.monotonic() - born)))
            workers[start(listener)] = (listener, time.monotonic())
    log_line(f"{program}: stopped")
    return 0


def _start(
    work: Work, listeners: Sequence[socket.socket], lifeline: int, held: int, listener: socket.socket
) -> int:
    """The number of the new process. It never returns from here."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)  # Ctrl-C is for the first process, which passes it on
        os.close(held)
        for other in listeners:
            if other is not listener:
                other.close()
        work(listener, lifeline)
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as mistake:
        log_line(f"error: worker {os.getpid()}: {mistake!r}")
    os._exit(status)


def _reap() -> Iterator[tuple[int, int]]:
    """The processes that have ended, and how; process 1 gets those that others left behind, too."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _describe(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"left with status {status}"
