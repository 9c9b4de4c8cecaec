"""A server's cost without load: startup, memory, and health check."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from scripts.bench.peers import Peer, running

_REQUEST = b"GET /bench HTTP/1.1\r\nHost: localhost\r\n\r\n"
_EACH = 1000  # connections per source address
_CHECKS = 5


@dataclass(frozen=True)
class Idle:
    """Seconds from the command to the first answer, and bytes of memory."""

    name: str
    first_answer: float
    memory: int  # after the first answer
    connections: int
    memory_with: int  # with many idle connections, each of which sent one request


def measure_idle(name: str, peer: Peer, connections: int) -> Idle:
    """Starts the server, sends a request, then one on each of many connections from 127.0.0.1, .2 and so on."""
    _allow_files(connections + 500)
    with running(peer) as server, ExitStack() as clients:
        port = int(server.address.rpartition(":")[2])
        clients.enter_context(_connect(port, 0))
        first_answer = time.monotonic() - server.begun
        memory = server.memory()
        for number in range(connections - 1):
            clients.enter_context(_connect(port, number))
        return Idle(name, first_answer, memory, connections, server.memory())


def _connect(port: int, number: int) -> socket.socket:
    source = (f"127.0.0.{1 + number // _EACH}", 0)
    client = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=source)
    client.sendall(_REQUEST)
    if not client.recv(4096):
        raise ConnectionError("it ended the connection without an answer")
    return client


def _allow_files(count: int) -> None:
    """Raises the file limit for this process and its children. Raises ValueError if the limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def healthcheck_cpu(peer: Peer) -> float:
    """Seconds of CPU time that ``whoami healthcheck`` takes."""
    with running(peer) as server:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(_CHECKS):
            command = [sys.executable, "-m", "whoami", "healthcheck", f"{server.address}/health"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / _CHECKS


def render_idle(measured: Sequence[Idle], healthcheck: float) -> str:
    """A line for each server, and one for the health check."""
    lines = [
        f"{idle.name:<20} first answer after {idle.first_answer * 1000:.0f} ms, {idle.memory / 1e6:.0f} MB; "
        f"with {idle.connections:,} idle connections {idle.memory_with / 1e6:.0f} MB, "
        f"{(idle.memory_with - idle.memory) / idle.connections / 1e3:.1f} KB for each"
        for idle in measured
    ]
    return "\n".join([*lines, f"whoami healthcheck takes {healthcheck * 1000:.0f} ms of processor time"])
