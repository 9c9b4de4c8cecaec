"""The measured programs, as processes, and their resource usage."""

import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

WHOAMI: Final = "whoami"
WHOAMI_2: Final = "whoami, 2 workers"
WHEREAMI: Final = "whereami"
WHEREAMI_2: Final = "whereami, 2 workers"
APPLICATION: Final = "aiohttp application"
GRANIAN: Final = "Granian"
UVICORN: Final = "uvicorn"
GRPCIO: Final = "grpcio"
NODE: Final = "Node.js"
ORIGINAL: Final = "original"
OURS: Final = (WHOAMI, WHEREAMI)  # prefixes of our servers' names

_HERE: Final = Path(__file__).parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PORTS: Final = range(20_000, 30_000)
_PATIENCE: Final = 15.0  # seconds until a program accepts connections
_PYTHON: Final = (sys.executable, "-m")
_REFERENCE: Final = (*_PYTHON, "scripts.bench.reference")
_GRANIAN: Final = (
    *_PYTHON,
    "granian",
    "--no-access-log",
    "--port",
    "{port}",
    "--interface",
    "rsgi",
    "--backpressure",
    "16384",
)
_UVICORN: Final = (*_PYTHON, "uvicorn", "--http", "httptools", "--no-access-log", "--port", "{port}")
_UVICORN_TLS: Final = ("--ssl-certfile", "{certificate}", "--ssl-keyfile", "{key}")


@dataclass(frozen=True)
class Peer:
    """A command, and its arguments for TLS; {port}, {certificate} and {key} are replaced for each run."""

    command: tuple[str, ...]
    tls: tuple[str, ...] = ()


_OUR_TLS: Final = ("--cert", "{certificate}", "--key", "{key}")
_WHOAMI: Final = (*_PYTHON, "whoami", "--port", "{port}")
_WHEREAMI: Final = (*_PYTHON, "whereami", "--port", "{port}")


def build_peers(original: str | None) -> dict[str, Peer]:
    """All programs by name, including the original whoami if its path is given."""
    peers = {
        WHOAMI: Peer(_WHOAMI, _OUR_TLS),
        WHOAMI_2: Peer((*_WHOAMI, "--workers", "2"), _OUR_TLS),
        WHEREAMI: Peer(_WHEREAMI),
        WHEREAMI_2: Peer((*_WHEREAMI, "--workers", "2")),
        APPLICATION: Peer((*_REFERENCE, "application", "{port}"), ("{certificate}", "{key}")),
        GRANIAN: Peer(
            (*_GRANIAN, "scripts.bench.constant:rsgi"),
            ("--ssl-certificate", "{certificate}", "--ssl-keyfile", "{key}"),
        ),
        UVICORN: Peer((*_UVICORN, "scripts.bench.constant:asgi"), _UVICORN_TLS),
        GRPCIO: Peer((*_REFERENCE, "grpcio", "{port}")),
        NODE: Peer(("node", str(_HERE / "kubia.js"), "{port}")),
    }
    if original:
        peers[ORIGINAL] = Peer((original, "--port", "{port}"), _OUR_TLS)
    return peers


class NotStarted(Exception):
    """A program did not start; the text says why."""


@dataclass(frozen=True)
class Server:
    """A running server: its address, its process if it is ours, and its start time."""

    address: str
    pid: int | None = None
    begun: float = 0.0  # by time.monotonic

    def cpu_seconds(self) -> float:
        """CPU time used by the server and its children, in seconds."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._pids()) / _TICKS

    def memory(self) -> int:
        """Bytes of resident memory; pages shared by workers count once."""
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
    except OSError:  # it has exited
        return 0


@contextmanager
def running(peer: Peer, certificate: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Starts a server, with TLS if there is a certificate, and stops it. Raises NotStarted."""
    port = _free_port()
    places = {"port": str(port), **(certificate or {})}
    command = [part.format(**places) for part in (*peer.command, *(peer.tls if certificate else ()))]
    with tempfile.TemporaryFile("w+") as errors:
        begun = time.monotonic()
        try:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        except OSError as problem:
            missing = isinstance(problem, FileNotFoundError)
            raise NotStarted(
                f"{command[0]} is not installed" if missing else f"{command[0]}: {problem.strerror}"
            ) from None
        with process:
            try:
                while not _takes_connections(port):
                    if process.poll() is not None or time.monotonic() > begun + _PATIENCE:
                        errors.seek(0)
                        last = errors.read().strip().splitlines()[-1:]
                        raise NotStarted(" ".join(last) or f"{command[0]} ended without a word")
                    time.sleep(0.002)
                yield Server(f"http{'s' if certificate else ''}://127.0.0.1:{port}", process.pid, begun)
            finally:
                process.terminate()


def _free_port() -> int:
    """A free port below the ephemeral range; within it, a client could connect to itself."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise NotStarted("no port is free")


def _takes_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def make_certificate(folder: Path) -> dict[str, str]:
    """The paths of a certificate for 127.0.0.1 and its key (PKCS #8, as Granian requires)."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    places = {"certificate": folder / "certificate.pem", "key": folder / "key.pem"}
    places["certificate"].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    places["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {name: str(path) for name, path in places.items()}
