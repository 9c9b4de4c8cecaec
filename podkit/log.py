"""Lines for people: what the server does."""

import asyncio
import contextlib
import sys
import time
from select import PIPE_BUF
from typing import TextIO

from podkit.message import Request, Response


def log_line(text: str, stream: TextIO | None = None) -> None:
    """Write one line at once; a log that nobody reads must not stop the server."""
    with contextlib.suppress(OSError, ValueError):
        stream = stream or sys.stderr
        stream.write(text + "\n")  # in one piece: other processes may write to the same log
        stream.flush()


class AccessLog:
    """One line a request: client, time, request line, status, body length, duration."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, request: Request, response: Response, start: float, end: float) -> None:
        """Log a request that was answered between `start` and `end` (seconds of one clock)."""
        head = request.head
        line = b"%s %s HTTP/%d.%d" % (head.method, head.request_uri, *head.version)
        shown = line.decode("utf-8", "backslashreplace").encode("unicode_escape").decode().replace('"', '\\"')
        length = len(response.body) if isinstance(response.body, bytes) else response.length
        moment = time.strftime("%d/%b/%Y:%H:%M:%S %z")
        log_line(
            f'{request.remote_addr} - - [{moment}] "{shown}" {response.status} {length} {end - start:.6f}s',
            self._stream,
        )


class BatchedLog:
    """Lines that are written together once a turn of the event loop, and none lost at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        """Write a line: at once outside the event loop, else before its next turn."""
        if not self._lines:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:
                log_line(line, self._stream)
                return
        self._lines.append(line)

    def flush(self) -> None:
        """Write what has gathered, in pieces that no other process's lines can get into."""
        lines, self._lines = self._lines, []
        if lines:
            count = PIPE_BUF // (max(map(len, lines)) + 1) or 1
            for start in range(0, len(lines), count):
                log_line("\n".join(lines[start : start + count]), self._stream)
