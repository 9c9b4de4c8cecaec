"""Where the lines go: a terminal is redrawn in place, a pipe gets lines."""

import io
import shutil
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TextIO

_PIPE_WIDTH: Final = 132  # columns that a table may take where nobody knows


class Colour(StrEnum):
    """The ones that we use, as SGR parameters."""

    GREEN = "32"
    YELLOW = "33"
    RED = "31"
    CYAN = "36"


class Screen:
    """Lines that stay, and below them, on a terminal, a block that is drawn again and again."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._height = 0  # lines of the block that is shown
        self.is_live = stream.isatty() and environ.get("TERM", "dumb") != "dumb"
        self._coloured = self.is_live and not environ.get("NO_COLOR")
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # bars, where the terminal is not one of UTF-8

    @property
    def width(self) -> int:
        """Columns that a line may have."""
        return shutil.get_terminal_size().columns - 1 if self.is_live else _PIPE_WIDTH

    @property
    def rows(self) -> int:
        """Lines that a block may have."""
        return max(3, shutil.get_terminal_size().lines - 1)

    def paint(self, text: str, colour: Colour) -> str:
        """The text in a colour, where that is wanted."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured and text else text

    def add(self, *lines: str) -> None:
        """Lines that stay; a block that is shown goes."""
        self._write(lines)
        self._height = 0

    def keep(self) -> None:
        """Leave the block that is shown where it is."""
        self._height = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Show a block in the place of the one before; nothing where the output is no terminal."""
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
