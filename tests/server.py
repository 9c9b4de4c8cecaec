"""Servers as processes, and raw HTTP/1.1 over sockets: the basis of the tests."""

import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Seconds to wait for what should happen soon, even on a slow machine. It is less than the servers' timeouts of
# a minute, which must not be what happens; a test extends shorter ones that could be (--grace-period=1h).
PATIENCE = 40.0


@dataclass(frozen=True)
class Answer:
    """One response as received."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, case-insensitively."""
        return {key.lower(): value for key, value in self.headers}.get(name.lower())


class Server:
    """A started program that listens."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            self._gather(self.process.stdout, self.out),
            self._gather(self.process.stderr, self.err),
        ]
        # a container may have to wait for others that are built and started at the same time
        wait_for(lambda: self._started() or self.process.poll() is not None, within=2 * PATIENCE)
        found = self._started()
        assert found, f"{command} did not start: {self.err}"
        self.port = int(found[1])

    def _started(self) -> re.Match[str] | None:
        return re.search(r"listening on https?://\S*:(\d+)", "".join(self.err))

    @staticmethod
    def _gather(stream: IO[str] | None, lines: list[str]) -> threading.Thread:
        assert stream is not None
        thread = threading.Thread(target=lambda: lines.extend(iter(stream.readline, "")), daemon=True)
        thread.start()
        return thread

    def connect(self) -> "Client":
        """A new connection."""
        return Client(socket.create_connection(("127.0.0.1", self.port), PATIENCE))

    def ask(self, request: bytes, half_close: bool = False) -> Answer:
        """The first answer to a raw request on a new connection."""
        with self.connect() as client:
            client.send(request)
            if half_close:
                client.socket.shutdown(socket.SHUT_WR)
            answer = client.read(request)
            assert answer is not None, f"{request[:200]!r} got no answer"
            return answer

    def get(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        """The answer to a plain request."""
        return self.ask(request(target, *headers, method=method, body=body))

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stops the server; it must exit with status 0 and without a traceback."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        assert "Traceback" not in "".join(self.err), "".join(self.err)
        assert status == 0, f"exit status {status}: {self.err}"


class Client:
    """A raw connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.reader = connection.makefile("rb")
        self.port: int = connection.getsockname()[1]

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *details: object) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends everything; ignores that a server may stop reading."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def read(self, request: bytes = b"GET") -> Answer | None:
        """The next response, or None if the connection closes."""
        line = self.reader.readline().decode("latin-1").rstrip("\r\n")
        if not line:
            return None
        version, status, reason = [*line.split(" ", 2), ""][:3]
        headers: list[tuple[str, str]] = []
        while field := self.reader.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = field.partition(":")
            headers.append((name, value.strip()))
        answer = Answer(version, int(status), reason, headers, b"")
        length = answer.header("Content-Length")
        if request.startswith(b"HEAD") or int(status) in (204, 304) or int(status) < 200:
            return answer
        body = self.reader.read(int(length)) if length is not None else self.reader.read()
        return Answer(version, int(status), reason, headers, body)

    def closes(self, within: float = PATIENCE) -> bool:
        """Whether the server closes within `seconds`, without sending more."""
        self.socket.settimeout(within)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True


# A request that is in flight until its `REST` is sent
UNFINISHED = b"POST / HTTP/1.1\r\nHost: whoami.example\r\nContent-Length: 5\r\n\r\n"
REST = b"hello"


def request(target: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A raw HTTP/1.1 request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: whoami.example", "User-Agent: test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + body


def free_port() -> int:
    """A free port below 32768, which the kernel does not assign to clients."""
    while True:
        port = random.randrange(20000, 32768)
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        return port


def wait_for(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Waits for a condition; fails if it does not hold in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def has_unread(server: Server) -> bool:
    """Whether the kernel still holds bytes or connections that the server has not taken."""
    table = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    queues = re.findall(rf":{server.port:04X} \S+ 0[1A] \S+:([0-9A-F]+) ", table)
    return any(int(queue, 16) for queue in queues)


LOOPS = ("uvloop", "asyncio")


def command(program: str, *arguments: str, loop: str = "uvloop") -> list[str]:
    """The command that starts a program on a free port, with an event loop."""
    if loop == "uvloop":
        return [sys.executable, "-m", program, "--port", "0", *arguments]
    code = (
        f"import sys, runpy; sys.modules['uvloop'] = None; runpy.run_module({program!r}, run_name='__main__')"
    )
    return [sys.executable, "-c", code, "--port", "0", *arguments]


@contextmanager
def started(
    program: str, *arguments: str, env: Mapping[str, str] | None = None, loop: str = "uvloop"
) -> Iterator[Server]:
    """A program on a free port, stopped and checked at the end."""
    server = Server(command(program, *arguments, loop=loop), env or {})
    try:
        yield server
        server.stop()
    finally:
        server.process.kill()
        server.process.wait()
