"""Output: redrawn in place on a terminal, plain lines in a pipe."""

import io
import shutil
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TextIO

_PIPE_WIDTH: Final = 132  # columns of a table in a pipe


class Colour(StrEnum):
    """Our colours, as SGR parameters."""

    GREEN = "32"
    YELLOW = "33"
    RED = "31"
    CYAN = "36"


class Screen:
    """Permanent lines, and below them, on a terminal, a block that is redrawn."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._height = 0  # lines of the current block
        self.is_live = stream.isatty() and environ.get("TERM", "dumb") != "dumb"
        self._coloured = self.is_live and not environ.get("NO_COLOR")
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # bars, on a terminal without UTF-8

    @property
    def width(self) -> int:
        """The columns of a line."""
        return shutil.get_terminal_size().columns - 1 if self.is_live else _PIPE_WIDTH

    @property
    def rows(self) -> int:
        """The lines of a block."""
        return max(3, shutil.get_terminal_size().lines - 1)

    def paint(self, text: str, colour: Colour) -> str:
        """The text in a colour, if colours are enabled."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured and text else text

    def add(self, *lines: str) -> None:
        """Adds permanent lines; the current block disappears."""
        self._write(lines)
        self._height = 0

    def keep(self) -> None:
        """Makes the current block permanent."""
        self._height = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Replaces the block; does nothing if the output is not a terminal."""
        if self.is_live:
            lines = [line if "\x1b" in line else line[: self.width] for line in lines[: self.rows]]
            self._write(lines)
            self._height = len(lines)

    def _write(self, lines: Sequence[str]) -> None:
        back = f"\x1b[{self._height}F\x1b[J" if self._height else ""
        text = back + "".join(f"{line}\n" for line in lines)
        if text:
            self._stream.write(text)
            self._stream.flush()
