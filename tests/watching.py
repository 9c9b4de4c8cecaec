"""Runs ``whoami watch`` within a test, or as a process."""

import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass

from tests.server import PATIENCE
from whoami.watch.cli import parse_options
from whoami.watch.run import Watch
from whoami.watch.screen import Screen


@dataclass(frozen=True)
class Watched:
    """Its output, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def summary(self) -> str:
        """The line with the losses."""
        return next(line for line in self.out.splitlines() if "(refused" in line)

    def counts(self, way: str) -> list[int]:
        """The numbers of a way's row: by pod, and the connections; a dash is 0."""
        lines = self.out.splitlines()
        row = next(index for index, line in enumerate(lines) if line.startswith(way + " "))
        head = next(line for line in reversed(lines[:row]) if line.endswith("connections"))
        columns = len(re.split(" {3,}", head)) - 1
        cells = lines[row].removeprefix(way).split()[:columns]
        return [int(cell.replace("\N{EN DASH}", "0").replace(",", "")) for cell in cells]


async def watch(*arguments: str) -> Watched:
    """Runs it on this loop."""
    out, err = io.StringIO(), io.StringIO()
    status = await Watch(parse_options(arguments), Screen(out, {}), err).run()
    return Watched(status, out.getvalue(), err.getvalue())


def command(*arguments: str) -> list[str]:
    """The command that starts it."""
    return [sys.executable, "-m", "whoami", "watch", *arguments]


def run_watch(*arguments: str) -> Watched:
    """Runs it as a process that writes to a pipe."""
    run = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        env=dict(os.environ),
        check=False,
    )
    return Watched(run.returncode, run.stdout, run.stderr)
