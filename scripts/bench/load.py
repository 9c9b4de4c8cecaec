"""Load with one thread: wrk (HTTP/1.1), h2load (HTTP/2), or WebSocket messages; full speed or a fixed rate."""

import json
import re
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

_SCRIPT = Path(__file__).with_name("wrk.lua")
_CONNECTIONS = 32
_STREAMS = 4  # concurrent, per HTTP/2 connection
_PAUSE = 10  # milliseconds between a paced connection's requests, on average; each pause is random
_EMPTY_MESSAGE = bytes(5)  # as framed by gRPC
_RPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
_HANDSHAKE = (
    "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
_MESSAGE = b"\x82\xc0\1\2\3\4" + 64 * b"x"  # masked, as required of a client
_ECHO = b"\x82\x40" + 16 * bytes(ord("x") ^ key for key in (1, 2, 3, 4))
_PATIENCE = 5  # seconds
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}  # on Debian and Ubuntu, by program


class LoadError(Exception):
    """The load could not be generated, or got errors; the text says which."""


@dataclass(frozen=True)
class Load:
    """The result of one run. Times are in seconds."""

    requests: int
    seconds: float
    bytes: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def full_load(url: str, seconds: int, kind: str = "same") -> Load:
    """Sends requests without pause on 32 connections.

    The kind is one of wrk.lua's; or ``http2`` or ``rpc`` (a call with an empty message) for h2load; or
    ``messages`` over WebSockets.
    """
    if kind == "messages":
        return _exchange_messages(url, seconds)
    if kind in ("http2", "rpc"):
        return _run_h2load(url, seconds, rpc=kind == "rpc")
    return _run_wrk(_CONNECTIONS, url, seconds, kind)


def paced_load(url: str, seconds: int, rate: float) -> Load:
    """Sends about `rate` requests per second, on as many connections as that takes."""
    return _run_wrk(max(1, round(rate * _PAUSE / 1000)), url, seconds, str(_PAUSE))


def _run_wrk(connections: int, url: str, seconds: int, kind: str) -> Load:
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_SCRIPT)]
    return parse_report(url, _output(url, ["wrk", *options, url, "--", kind]))


def parse_report(url: str, text: str) -> Load:
    """Parses wrk.lua's last line. Raises LoadError if requests failed, or none was answered."""
    report = json.loads(text.strip().splitlines()[-1])
    errors = report.pop("errors")
    if errors or not report["requests"]:
        raise LoadError(f"{url}: {errors} of {report['requests']} requests failed")
    return Load(**report)


def _run_h2load(url: str, seconds: int, rpc: bool) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        log, body = Path(folder, "log"), Path(folder, "body")
        body.write_bytes(_EMPTY_MESSAGE)
        command = ["h2load", "-t1", f"-c{_CONNECTIONS}", f"-m{_STREAMS}", f"-D{seconds}", f"--log-file={log}"]
        text = _output(url, [*command, *(("-d", str(body), *_RPC) if rpc else ()), url])
        lines = log.read_text().splitlines() if log.exists() else []
        return parse_h2load(url, text, lines)


def parse_h2load(url: str, text: str, log: list[str]) -> Load:
    """Parses h2load's report and its log of start, status and microseconds. Raises LoadError likewise."""
    rate = re.search(r", ([\d.]+) req/s", text)
    counts = re.search(r"(\d+) done, (\d+) succeeded", text)
    traffic = re.search(r"traffic: \S+ \((\d+)\) total", text)
    if not (rate and counts and traffic) or counts[1] != counts[2] or not (requests := int(counts[1])):
        raise LoadError(f"{url}: {counts[0] if counts else 'no request was answered'}")
    took = sorted(int(line.split()[2]) / 1e6 for line in log)
    seconds = requests / float(rate[1])
    return Load(requests, seconds, int(traffic[1]), took[len(took) // 2], took[len(took) * 99 // 100])


def _exchange_messages(url: str, seconds: float) -> Load:
    """Each connection sends its next message when the previous one has returned."""
    with ExitStack() as stack:
        clients = [_open_websocket(stack, url) for _ in range(_CONNECTIONS)]
        begin = now = time.perf_counter()
        sent = [begin] * len(clients)
        for client, _ in clients:
            client.sendall(_MESSAGE)
        took: list[float] = []
        while not took or now < begin + seconds:
            for place, (client, stream) in enumerate(clients):
                if stream.read(len(_ECHO)) != _ECHO:
                    raise LoadError(f"{url}: a message did not come back")
                now = time.perf_counter()
                took.append(now - sent[place])
                sent[place] = now
                client.sendall(_MESSAGE)
    count = len(took)
    took.sort()
    return Load(count, now - begin, count * len(_ECHO), took[count // 2], took[count * 99 // 100])


def _open_websocket(stack: ExitStack, url: str) -> tuple[socket.socket, BinaryIO]:
    parts = urlsplit(url)
    client = stack.enter_context(socket.create_connection((parts.hostname, parts.port), _PATIENCE))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall((_HANDSHAKE % parts.path).encode())
    stream = stack.enter_context(client.makefile("rb"))
    if not stream.readline().startswith(b"HTTP/1.1 101 "):
        raise LoadError(f"{url}: no WebSocket there")
    while stream.readline() not in (b"\r\n", b""):
        pass
    return client, stream


def _output(url: str, command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise LoadError(f"{url}: {(run.stderr or run.stdout).strip().splitlines()[0]}")
    return run.stdout
