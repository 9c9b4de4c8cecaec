"""The server's log. A log that nobody reads never blocks a client."""

import asyncio
import contextlib
import io
import os
import select
import stat
import sys
import time
from collections import deque
from typing import Final, TextIO

from podkit.message import Request, Response

_LONGEST: Final = select.PIPE_BUF  # bytes of a line; a pipe takes them atomically
_MOST_WAITING: Final = 1 << 20  # bytes of lines waiting for the reader
_LAST_PATIENCE: Final = 500  # milliseconds without progress, at exit
_MOST_SHOWN: Final = 600  # bytes of a request line; escaping makes them up to five times longer


def log_line(text: str) -> None:
    """Writes one line to standard error immediately."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")  # one write: other processes may share this log
        sys.stderr.flush()


class Log(io.TextIOBase):
    """A non-blocking stream of lines: lines that its reader does not take are dropped and counted.

    In the event loop, the lines of one iteration are written together and never interleave with other
    processes' lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fd, self._may_block = _open(stream)
        self._lines: list[str] = []  # of this loop iteration
        self._waiting: deque[bytes] = deque()  # each is written atomically
        self._size = 0  # their bytes
        self._dropped = 0
        self._unfinished = ""
        self._watching: asyncio.AbstractEventLoop | None = None  # the loop that calls flush

    def write(self, text: str) -> int:
        """Writes a text; the part after its last newline waits for the next call."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self.line(line)
        return len(text)

    def line(self, text: str) -> None:
        """Writes a line, truncated to what a pipe takes atomically."""
        self._lines.append(text)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Writes as much as the reader takes now."""
        lines, self._lines = self._lines, []
        if self._dropped or self._size > _MOST_WAITING:
            self._dropped += len(lines)
        elif lines:
            self._append(lines)
        while self._waiting:
            piece = self._waiting.popleft()
            taken = self._take(piece)
            self._size -= taken
            if taken < len(piece):
                self._waiting.appendleft(piece[taken:])
                break
        if self._dropped and self._size < _MOST_WAITING // 2:
            self._append([f"... {self._dropped} lines dropped because nobody read them in time"])
            self._dropped = 0
        self._watch()

    def _append(self, lines: list[str]) -> None:
        """Queues lines, joined into pieces that a pipe takes atomically."""
        count = _LONGEST // (max(map(len, lines)) + 1) or 1
        for start in range(0, len(lines), count):
            few = lines[start : start + count]
            piece = ("\n".join(few) + "\n").encode("utf-8", "backslashreplace")
            if len(piece) <= _LONGEST:
                self._waiting.append(piece)
                self._size += len(piece)
            elif len(few) > 1:  # some characters take several bytes
                self._append(few[: len(few) // 2])
                self._append(few[len(few) // 2 :])
            else:
                self._append([piece[: _LONGEST - 4].decode("utf-8", "ignore") + "..."])

    def _take(self, piece: bytes) -> int:
        """Returns how many bytes were written, or can never be."""
        try:
            if self._fd is None:
                self._stream.write(piece.decode())
                self._stream.flush()
            elif not self._may_block or _is_writable(self._fd, 0):
                return os.write(self._fd, piece)
            else:
                return 0
        except BlockingIOError:
            return 0
        except (OSError, ValueError):
            pass
        return len(piece)

    def _watch(self) -> None:
        """Calls flush when the reader takes more, while lines are waiting."""
        if self._fd is None:
            return
        if self._waiting and self._watching is None:
            with contextlib.suppress(RuntimeError):  # outside the loop: retried with the next line
                loop = asyncio.get_running_loop()
                loop.add_writer(self._fd, self.flush)
                self._watching = loop
        elif self._watching is not None and not self._waiting:
            self._watching.remove_writer(self._fd)
            self._watching = None

    def finish(self) -> None:
        """Writes the waiting lines, as long as the reader makes progress."""
        self.flush()
        while self._waiting and self._fd is not None and _is_writable(self._fd, _LAST_PATIENCE):
            self.flush()


def _open(stream: TextIO) -> tuple[int | None, bool]:
    """The stream's file descriptor, if it has one, and whether writing to it may block.

    A pipe or terminal is reopened, because changing the mode of ours would affect every process that shares it.
    """
    try:
        fd = stream.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError):
        return None, False
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY), False
        return fd, True
    return fd, stat.S_ISSOCK(mode)


def _is_writable(fd: int, patience: int) -> bool:
    """Whether a line can be written within `patience` milliseconds."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(patience))


class AccessLog:
    """One line per request: client, time, request line, status, body length, duration."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, request: Request, response: Response, start: float, end: float) -> None:
        """Logs a request that was answered between `start` and `end` (seconds of the monotonic clock)."""
        head = request.head
        line = b"%s %s" % (head.method[:_MOST_SHOWN], head.request_uri[:_MOST_SHOWN])
        cut = len(line) > _MOST_SHOWN
        line = b"%s%s HTTP/%d.%d" % (line[:_MOST_SHOWN], b"..." if cut else b"", *head.version)
        shown = line.decode("utf-8", "backslashreplace").encode("unicode_escape").decode().replace('"', '\\"')
        length = len(response.body) if isinstance(response.body, bytes) else response.length
        moment = time.strftime("%d/%b/%Y:%H:%M:%S %z")
        self._log.line(
            f'{request.remote_addr} - - [{moment}] "{shown}" {response.status} {length} {end - start:.6f}s'
        )
