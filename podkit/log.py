"""Lines for people: what the server does. A log that nobody reads never holds up a client."""

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

_LONGEST: Final = select.PIPE_BUF  # bytes of a line, so that a pipe takes it in one piece
_MOST_WAITING: Final = 1 << 20  # bytes of lines that wait for their reader
_LAST_PATIENCE: Final = 500  # milliseconds without progress, at the end
_MOST_SHOWN: Final = 600  # bytes of a request line; escaped they are up to five times as many


def log_line(text: str) -> None:
    """Write one line to standard error at once."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")  # in one piece: other processes may write to the same log
        sys.stderr.flush()


class Log(io.TextIOBase):
    """A stream of lines that is never waited for: what its reader does not take is dropped, and counted.

    In the event loop, lines are written together once a turn; no other process's lines get in between.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fd, self._may_block = _open(stream)
        self._lines: list[str] = []  # of this turn
        self._waiting: deque[bytes] = deque()  # for the reader, each to be written in one piece
        self._size = 0  # bytes of them
        self._dropped = 0
        self._unfinished = ""
        self._watching: asyncio.AbstractEventLoop | None = None  # tells when the reader takes more

    def write(self, text: str) -> int:
        """Write a text; what comes after its last newline waits for the next."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self.line(line)
        return len(text)

    def line(self, text: str) -> None:
        """Write a line, cut to what a pipe takes in one piece."""
        self._lines.append(text)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Write what the reader takes now."""
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
        """Line up some lines, as many in one piece as a pipe takes at once."""
        count = _LONGEST // (max(map(len, lines)) + 1) or 1
        for start in range(0, len(lines), count):
            few = lines[start : start + count]
            piece = ("\n".join(few) + "\n").encode("utf-8", "backslashreplace")
            if len(piece) <= _LONGEST:
                self._waiting.append(piece)
                self._size += len(piece)
            elif len(few) > 1:  # some are not ASCII
                self._append(few[: len(few) // 2])
                self._append(few[len(few) // 2 :])
            else:
                self._append([piece[: _LONGEST - 4].decode("utf-8", "ignore") + "..."])

    def _take(self, piece: bytes) -> int:
        """How many bytes were written, or never can be."""
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
        """Go on when the reader takes more, if something waits for it."""
        if self._fd is None:
            return
        if self._waiting and self._watching is None:
            with contextlib.suppress(RuntimeError):  # outside the loop: the next line tries again
                loop = asyncio.get_running_loop()
                loop.add_writer(self._fd, self.flush)
                self._watching = loop
        elif self._watching is not None and not self._waiting:
            self._watching.remove_writer(self._fd)
            self._watching = None

    def finish(self) -> None:
        """Write what waits, as long as its reader takes some of it every now and then."""
        self.flush()
        while self._waiting and self._fd is not None and _is_writable(self._fd, _LAST_PATIENCE):
            self.flush()


def _open(stream: TextIO) -> tuple[int | None, bool]:
    """A stream's file descriptor, if it has one, and whether a write to it may wait.

    A pipe or a terminal is opened anew: to change the mode of ours would change it for all who have it.
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
    """Whether a line can be written without waiting for longer than `patience` milliseconds."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(patience))


class AccessLog:
    """One line a request: client, time, request line, status, body length, duration."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, request: Request, response: Response, start: float, end: float) -> None:
        """Log a request that was answered between `start` and `end` (seconds of the monotonic clock)."""
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
