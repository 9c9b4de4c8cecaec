"""Lines for people: what the server does."""

import contextlib
import sys
import time
from typing import TextIO

from podkit.message import Request, Response


def say(text: str, stream: TextIO | None = None) -> None:
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
        say(
            f'{request.remote_addr} - - [{moment}] "{shown}" {response.status} {length} {end - start:.6f}s',
            self._stream,
        )
