"""Shutdown: which clients are still served, when the port closes, and what is logged."""

import os
import re
import signal
import socket
import sys
import threading
import time

import pytest

from tests.readme import README
from tests.server import LOOPS, PATIENCE, REST, UNFINISHED, Server, has_unread, request, started, wait_for

CLOSE = request("/bench", "Connection: close")


def steps(server: Server) -> list[str]:
    """The logged steps, without times and ports."""
    wait_for(lambda: any("done: " in line for line in server.err))
    lines = [re.sub(r"\+\d+\.\d s", "+N s", line.strip()) for line in server.err]
    return lines[next(number for number, line in enumerate(lines) if "leaving" in line) :]


def seconds(server: Server, text: str) -> float:
    """The time of a step."""
    found = re.search(rf"\+(\d+\.\d) s {text}", "".join(server.err))
    assert found is not None, server.err
    return float(found[1])


def is_leaving(server: Server) -> bool:
    """Whether the signal has arrived."""
    return any("leaving" in line for line in server.err)


@pytest.mark.slow
def test_the_log_tells_each_step() -> None:
    """The number of requests, the last client, the closing of the port, and the outcome of the requests."""
    with started("whoami", "--shutdown-delay", "2s", "--grace-period", "2s") as server:
        with server.connect() as short, server.connect() as long:
            short.send(UNFINISHED)
            long.send(request("/?wait=1h"))
            wait_for(lambda: not has_unread(server))
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: is_leaving(server))
            assert server.get("/bench").header("Connection") == "close"
            short.send(REST)
            answer = short.read()
            assert answer is not None
            assert answer.header("Connection") == "close"
            assert long.closes()
        server.process.wait(PATIENCE)
        assert steps(server) == [
            "whoami: SIGTERM: leaving, 2 requests in flight",
            "whoami: +N s last new connection, from 127.0.0.1",
            "whoami: +N s listener closed",
            "whoami: +N s done: 2 answered while leaving, 1 cut",
        ]
        example = re.search(r"^  ```\n(  whoami: SIGTERM.*?)^  ```", README, re.DOTALL | re.MULTILINE)
        assert example is not None
        lines = re.sub(r"\+[0-9.]+", "+N", example[1]).replace("10.244.0.8", "127.0.0.1").splitlines()
        assert [line.strip() for line in lines][:3] == steps(server)[:3]
        assert lines[3].strip() == "whoami: +N s done: 3 answered while leaving, 0 cut"
        assert seconds(server, "listener closed") >= 2
        assert seconds(server, "done") >= 4


@pytest.mark.parametrize("program", ["whoami", "whereami"])
def test_the_shutdown_delay_goes_on_serving(program: str) -> None:
    """Old and new connections are served and asked to leave; a second signal ends it."""
    with started(program, "--shutdown-delay=1h") as server, server.connect() as old:
        old.send(request("/"))
        answer = old.read()
        assert answer is not None
        assert answer.header("Connection") is None
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_leaving(server))
        for client in (old, server.connect()):
            with client:
                client.send(request("/"))
                answer = client.read()
                assert answer is not None
                assert answer.header("Connection") == "close"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
        server.process.returncode = 0  # checked here; the fixture expects 0


@pytest.mark.parametrize("program", ["whoami", "whereami"])
def test_the_shutdown_delay_ends(program: str) -> None:
    """Then the port closes."""
    with started(program, "--shutdown-delay=300ms") as server:
        server.stop()
        assert seconds(server, "listener closed") >= 0.3
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_each_worker_tells_its_steps() -> None:
    """Each with its number; and the first process when all have exited."""
    with started("whoami", "--workers", "2") as server:
        with server.connect() as client:
            client.send(UNFINISHED)
            wait_for(lambda: not has_unread(server))
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "".join(server.err).count("leaving, ") == 1 + 2)
            client.send(REST)
            assert client.read() is not None
        server.process.wait(PATIENCE)
        wait_for(lambda: "whoami: all workers have exited\n" in server.err)
        text = re.sub(r"worker \d+", "worker N", "".join(server.err))
        assert "whoami: SIGTERM: leaving, with 2 workers\n" in text
        assert "whoami: worker N: leaving, 1 request in flight\n" in text
        assert "whoami: worker N: leaving, 0 requests in flight\n" in text
        assert text.count("listener closed") == 2
        assert "1 answered while leaving, 0 cut" in text


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("loop", LOOPS)
def test_hangup_ends_it_as_a_signal_does(loop: str, workers: str) -> None:
    """Closing a terminal loses no request."""
    with started("whoami", "--workers", workers, loop=loop) as server, server.connect() as client:
        client.send(UNFINISHED)
        wait_for(lambda: not has_unread(server))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: is_leaving(server))
        client.send(REST)
        answer = client.read()
        assert answer is not None
        assert answer.status == 200
        assert server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nohup_is_respected(workers: str) -> None:
    """A process that ignores the hangup keeps running."""
    command = ["nohup", sys.executable, "-m", "whoami", "--port", "0", "--workers", workers]
    server = Server(command, {"PATH": os.environ["PATH"]})
    try:
        server.process.send_signal(signal.SIGHUP)
        assert server.get("/bench").status == 200
        server.stop()
    finally:
        server.process.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_do_nothing(number: signal.Signals, workers: str) -> None:
    """By default they would kill a process."""
    with started("whoami", "--workers", workers) as server, server.connect() as client:
        client.send(UNFINISHED)
        wait_for(lambda: not has_unread(server))
        server.process.send_signal(number)
        client.send(REST)
        assert client.read() is not None
        assert server.get("/bench").status == 200
        assert not is_leaving(server)


def connect_and_ask(server: Server, lost: list[str], answered: list[int], stop: threading.Event) -> None:
    """Opens a new connection for each request, until none is accepted."""
    while not stop.is_set():
        try:
            client = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        except ConnectionError:
            return
        with client:
            try:
                client.sendall(CLOSE)
                data = client.recv(1000)
            except OSError as problem:
                lost.append(repr(problem))
                return
            if not data.startswith(b"HTTP/1.1 200 OK"):
                lost.append(f"got {data!r}")
                return
            answered.append(1)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("loop", LOOPS)
def test_no_connection_is_lost(loop: str, workers: str) -> None:
    """Every connection that the kernel accepted is answered, however many arrive during closing."""
    lost: list[str] = []
    for _ in range(2):
        answered: list[int] = []
        stop = threading.Event()
        with started("whoami", "--workers", workers, loop=loop) as server:
            clients = [
                threading.Thread(target=connect_and_ask, args=(server, lost, answered, stop)) for _ in range(16)
            ]
            for client in clients:
                client.start()
            wait_for(lambda answered=answered: len(answered) > 500)  # type: ignore[misc]
            server.stop()
            stop.set()
            for client in clients:
                client.join(PATIENCE)
    assert lost == []


def test_idle_connections_end_when_they_are_told_to() -> None:
    """Not before the timeout, and not while a request is in flight."""
    with (
        started("whoami", "--idle-timeout", "700ms") as server,
        server.connect() as idle,
        server.connect() as busy,
    ):
        busy.send(request("/?wait=2s"))
        begun = time.monotonic()
        idle.send(request("/"))
        assert idle.read() is not None
        assert idle.closes()
        assert time.monotonic() - begun > 0.7
        assert busy.read() is not None
