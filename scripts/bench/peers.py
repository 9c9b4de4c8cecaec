"""The programs that are measured, as processes, and what they use up."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

APPLICATION: Final = "aiohttp application"
LOW_LEVEL: Final = "aiohttp low-level server"
NODE: Final = "kubia on Node"
OURS: Final = ("whoami", "whereami")  # how the names of our own subjects start

_HERE: Final = Path(__file__).parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_REFERENCE: Final = (sys.executable, "-m", "scripts.bench.reference")

# each server's command, and by subject the targets that are asked of it
PEERS: Final[Mapping[tuple[str, ...], Mapping[str, str]]] = {
    (*_REFERENCE, "application"): {APPLICATION: "/bench"},
    (*_REFERENCE, "low-level"): {LOW_LEVEL: "/"},
    (sys.executable, "-m", "whoami", "--port", "0"): {
        "whoami /bench": "/bench",
        "whoami /": "/",
        "whoami /api": "/api",
        "whoami /data of 10 MB": "/data?size=10&unit=MB",
    },
    (sys.executable, "-m", "whoami", "--port", "0", "--workers", "2"): {
        "whoami /bench, 2 workers": "/bench",
        "whoami /, 2 workers": "/",
    },
    (sys.executable, "-m", "whereami", "--port", "0"): {"whereami /": "/"},
    (sys.executable, "-m", "whereami", "--port", "0", "--workers", "2"): {"whereami /, 2 workers": "/"},
    ("node", str(_HERE / "kubia.js")): {NODE: "/"},
}


class NotStarted(Exception):
    """A program did not start; the text says why."""


@dataclass(frozen=True)
class Server:
    """A server that runs: its address, and its process, unless it is none of ours."""

    address: str
    pid: int | None = None

    def cpu_seconds(self) -> float:
        """Processor time that the server and its children have used."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._pids()) / _TICKS

    def memory(self) -> int:
        """Bytes of resident memory; what workers share counts once."""
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self._pids()]
        return sum(int(found[1]) << 10 for text in rollups if (found := re.search(r"Pss:\s+(\d+) kB", text)))

    def _pids(self) -> list[int]:
        if self.pid is None:
            return []
        everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [self.pid, *(pid for pid in everyone if _parent(pid) == self.pid)]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on (``man 5 proc``)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    try:
        return int(_stat(pid)[1])
    except OSError:  # it has ended meanwhile
        return 0


@contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """Start a server, and end it. Raises NotStarted where it says no address."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise NotStarted(f"{command[0]} is not installed") from None
    with process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line.strip())
                if found := re.search(r"listening on http://\S*:(\d+)", line):
                    yield Server(f"http://127.0.0.1:{found[1]}", process.pid)
                    return
            raise NotStarted(" ".join(lines[-1:]) or f"{command[0]} ended without a word")
        finally:
            process.terminate()
