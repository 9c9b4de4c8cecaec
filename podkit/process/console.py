"""The console script: connects a program to the process's arguments, environment and streams."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TextIO

Main = Callable[[Sequence[str], Mapping[str, str], TextIO, TextIO], int]


def run_program(main: Main) -> NoReturn:
    """Runs a program, and exits with its status."""
    _open_missing_streams()
    sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))


def _open_missing_streams() -> None:
    """Opens streams that were closed at startup (``whoami >&-``); a socket would get their number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
