"""A log that costs little a line."""

import asyncio
from select import PIPE_BUF
from typing import TextIO

from podkit.log import say


class TickLog:
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
                say(line, self._stream)
                return
        self._lines.append(line)

    def flush(self) -> None:
        """Write what has gathered, in pieces that no other process's lines can get into."""
        lines, self._lines = self._lines, []
        if lines:
            count = PIPE_BUF // (max(map(len, lines)) + 1) or 1
            for start in range(0, len(lines), count):
                say("\n".join(lines[start : start + count]), self._stream)
