"""Startup, signals, shutdown, and changes in the kernel."""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.needs import require
from tests.server import LOOPS, PATIENCE, Client, Server, command, has_unread, request, started, wait_for

SERVERS = ["whoami", "whereami"]


def sockets(server: Server) -> int:
    """The number of a server's sockets."""
    return sum(link.startswith("socket:") for link in links(server.process.pid))


def links(pid: int) -> list[str]:
    """The targets of a process's file descriptors."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(path.readlink()))
    return found


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program that exits by itself."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=env or {},
        check=False,
    )


@pytest.mark.parametrize("program", SERVERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(program: str, number: signal.Signals) -> None:
    """Idle connections do not delay it."""
    with started(program, "--grace-period=1h") as server, server.connect() as client:
        client.send(request("/"))
        assert client.read()
        server.stop(number)
        assert client.closes()


def test_a_request_in_flight_is_finished() -> None:
    """Requests before the signal are answered after it; new connections are refused."""
    with started("whoami") as server, server.connect() as client:
        client.send(request("/?wait=2s"))
        client.send(request("/pipelined"))
        wait_for(lambda: not has_unread(server))
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: any("leaving" in line for line in server.err))
        first, second = client.read(), client.read()
        assert first is not None
        assert second is not None
        assert (first.status, second.status, second.header("Connection")) == (200, 200, "close")
        assert b"/pipelined" in second.body
        server.process.wait(PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_the_grace_period_ends() -> None:
    """A longer request is cut, and the status is still 0."""
    with started("whoami", "--grace-period", "300ms") as server, server.connect() as client:
        client.send(request("/?wait=1h"))
        wait_for(lambda: not has_unread(server))
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start > 0.2


def test_a_second_signal_ends_it_at_once() -> None:
    """Without waiting for the grace period."""
    with started("whoami", "--grace-period=1h") as server, server.connect() as client:
        client.send(request("/?wait=1h"))
        wait_for(lambda: not has_unread(server))
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: any("leaving" in line for line in server.err))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
        assert "Traceback" not in "".join(server.err)
        server.process.returncode = 0  # checked here; the fixture expects 0


def hammer(server: Server, lost: list[str], answered: list[int], stop: threading.Event) -> None:
    """Sends requests over one keep-alive connection until the server closes it."""
    try:
        client = server.connect()
    except OSError:
        return
    with client:
        while not stop.is_set():
            try:
                client.socket.sendall(request("/"))
            except OSError:
                return  # the server announced that it would close
            try:
                answer = client.read()
            except OSError as problem:
                lost.append(repr(problem))
                return
            if answer is None:
                lost.append("closed without an answer")
                return
            answered.append(answer.status)
            if answer.header("Connection") == "close":
                return


def test_no_request_is_lost_in_a_restart() -> None:
    """Clients with keep-alive connections get an answer to every request that they sent."""
    lost: list[str] = []
    answered: list[int] = []
    stop = threading.Event()
    for _ in range(3):
        with started("whoami") as server:
            clients = [threading.Thread(target=hammer, args=(server, lost, answered, stop)) for _ in range(12)]
            for client in clients:
                client.start()
            before = len(answered)
            wait_for(lambda before=before: len(answered) > before + 300)  # type: ignore[misc]
            server.stop()
            for client in clients:
                client.join(PATIENCE)
    assert lost == []
    assert set(answered) == {200}


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_waiting_request_does_not_outlive_its_client(reset: bool) -> None:
    """The connection is dropped soon after the client disconnects."""
    with started("whoami") as server:
        before = sockets(server)
        client = server.connect()
        client.send(request("/?wait=1h"))
        wait_for(lambda: sockets(server) > before)
        if reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.reader.close()
        client.socket.close()
        wait_for(lambda: sockets(server) == before)


@pytest.mark.parametrize("program", SERVERS)
def test_a_taken_port_is_named(program: str) -> None:
    """One line, and status 1."""
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run(program, "--port", port)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"{program}: port {port} is in use by another process: choose another with --port"
    ]


def test_the_port_comes_from_the_environment_unless_a_flag_says_it() -> None:
    """The flag overrides the variable."""
    with started("whoami", env={"WHOAMI_PORT_NUMBER": "1"}) as server:
        assert server.port != 1


def test_healthcheck_follows_health() -> None:
    """0 while healthy, 1 after, with one line; 1 if nothing listens."""
    with started("whoami") as server, started("whereami") as kubia:
        url = f"http://127.0.0.1:{server.port}/health"
        assert run("whoami", "healthcheck", url).returncode == 0
        server.get("/health", method="POST", body=b"500")
        ended = run("whoami", "healthcheck", url)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
        assert run("whoami", "healthcheck", env={"WHOAMI_PORT_NUMBER": str(server.port)}).returncode == 1
        assert run("whereami", "healthcheck", f"http://127.0.0.1:{kubia.port}/").returncode == 0
    url = f"http://127.0.0.1:{kubia.port}/"
    ended = run("whereami", "healthcheck", url)
    assert (ended.returncode, ended.stderr) == (1, f"whereami healthcheck: {url}: Connection refused\n")


def test_both_protocols_on_one_port(whoami: Server) -> None:
    """An IPv6 client is shown in brackets, an IPv4 client as plain IPv4."""
    for family, address, shown in (
        (socket.AF_INET, "127.0.0.1", b"127.0.0.1:"),
        (socket.AF_INET6, "::1", b"[::1]:"),
    ):
        with socket.socket(family) as client:
            client.connect((address, whoami.port))
            client.sendall(request("/", "Connection: close"))
            answer = b"".join(iter(lambda client=client: client.recv(65536), b""))  # type: ignore[misc]
            assert b"RemoteAddr: " + shown + b"%d\n" % client.getsockname()[1] in answer


def test_runs_without_uvloop() -> None:
    """Without uvloop, asyncio's own loop serves and shuts down too."""
    with started("whoami", loop="asyncio") as server:
        answers = [
            server.get("/"),
            server.get("/", method="POST", body=b"hello"),
            server.get("/data?size=1&unit=MB"),
        ]
        assert [answer.status for answer in answers] == [200] * 3
        assert len(answers[2].body) == 1 << 20
        assert server.ask(request("/?wait=20ms"), half_close=True).status == 200


def used(server: Server) -> float:
    """Seconds of CPU that a server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("loop", LOOPS)
def test_too_few_file_descriptors(loop: str) -> None:
    """Clients wait, with one line per second and without a busy loop, until there are some again."""
    limited = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *command("whoami", loop=loop)]
    server = Server(limited, {"PATH": os.environ["PATH"]})
    try:
        begun = time.monotonic()
        waiting = [server.connect() for _ in range(100)]
        for client in waiting:
            client.send(request("/?wait=1h"))
        wait_for(lambda: len(server.err) > 1)
        before = used(server)
        wait_for(lambda: len(server.err) > 3)
        assert used(server) - before < 1
        assert time.monotonic() - begun > 2
        assert set(server.err[1:]) == {"error: connections have to wait: Too many open files\n"}
        late = server.connect()
        late.send(request("/"))
        for client in waiting:
            client.__exit__()
        answer = late.read()
        assert answer is not None
        assert answer.status == 200
        server.stop()
    finally:
        server.process.kill()


def listening_port(process: "subprocess.Popen[bytes]") -> int:
    """The port that a process listens on, according to the kernel; 0 if it does not yet."""
    own = links(process.pid)
    for row in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        fields = row.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
            return int(fields[1].rpartition(":")[2], 16)
    return 0


@pytest.mark.parametrize("program", [["whoami", "--verbose"], ["whereami"]], ids=" ".join)
def test_standard_streams_that_are_closed(program: list[str]) -> None:
    """It serves, and logs nothing."""
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command(*program)]
    with subprocess.Popen(closed) as process:
        try:
            wait_for(lambda: listening_port(process))
            for _ in range(3):
                with Client(
                    socket.create_connection(("127.0.0.1", listening_port(process)), PATIENCE)
                ) as client:
                    client.send(request("/"))
                    answer = client.read()
                    assert answer is not None
                    assert answer.status == 200
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("program", [["whoami", "--verbose"], ["whereami"]], ids=" ".join)
def test_a_log_that_nobody_reads_holds_up_nobody(program: list[str], workers: str) -> None:
    """Requests are answered and signals work, although the output pipes are full."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(*program, "--workers", workers), stdout=pipe, stderr=pipe, bufsize=0, env={}
    ) as process:
        assert process.stderr is not None
        found = re.search(rb":(\d+)[\n ]", process.stderr.readline())
        assert found is not None
        for _ in range(2):
            with Client(socket.create_connection(("127.0.0.1", int(found[1])), PATIENCE)) as client:
                for _ in range(60):
                    client.send(request("/bench") * 50)
                    for _ in range(50):
                        assert client.read() is not None
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("way", ["--http1.1", "--http2-prior-knowledge"])
def test_durations_are_logged_to_the_microsecond(way: str) -> None:
    """In whole milliseconds, the resolution of uvloop's clock, they all would be 0."""
    require("curl")
    with started("whoami", "--verbose") as server:
        url = f"http://127.0.0.1:{server.port}/bench"
        for _ in range(10):
            subprocess.run(["curl", "-s", way, url], capture_output=True, check=True)
        wait_for(lambda: len(server.err) == 11)
        durations = [re.search(r" (\d+\.\d{6})s$", line.strip()) for line in server.err[1:]]
        assert sum(found is not None and not found[1].endswith("000") for found in durations) >= 8


def in_namespace(*words: str) -> list[str]:
    """Runs a command in new namespaces; fails the test if this machine forbids them."""
    return ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), *words]


def test_serves_as_process_1() -> None:
    """As in a container: it handles signals, and exits with status 0."""
    server = Server(in_namespace("--pid", "--fork", "--kill-child", "--mount-proc", *command("whoami")), {})
    try:
        assert server.get("/").status == 200
        os.kill(children(server.process.pid)[0], signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        wait_for(lambda: any("done: " in line for line in server.err))
    finally:
        server.process.kill()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_reaps_orphans_as_process_1(workers: str) -> None:
    """Orphans of a shell in the container do not remain zombies."""
    require("namespaces")
    orphan = '(sleep 0.2 & exit); exec "$@"'  # adopted by process 1 when its own parent exits
    words = ["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", orphan, "sh"]
    server = Server(
        in_namespace(*words, *command("whoami", "--workers", workers)), {"PATH": os.environ["PATH"]}
    )
    try:
        (first,) = children(server.process.pid)
        wait_for(lambda: len(children(first)) == (0 if workers == "1" else 2))
        os.kill(first, signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    finally:
        server.process.kill()


def children(pid: int) -> list[int]:
    """The children of a process, including adopted ones and zombies."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_new_address_is_in_the_next_answer() -> None:
    """An address that is added at run time shows without a restart."""
    script = textwrap.dedent(
        """
        import fcntl, re, socket, struct, subprocess, sys, time, urllib.request
        SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        command = [sys.executable, "-m", "whoami", "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        port = re.search(r":(\\d+)$", server.stderr.readline().strip())[1]
        def ask():
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=40).read().decode()
        assert "IP: 127.0.0.1\\n" in ask() and "10.99.88.77" not in ask()
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("10.99.88.77"))
        fcntl.ioctl(control, SIOCSIFADDR, address)
        assert "IP: 10.99.88.77\\n" in ask(), "the next answer does not have it"
        socket.sethostname("renamed")
        deadline = time.monotonic() + 40
        while "Hostname: renamed" not in ask():
            assert time.monotonic() < deadline, "the host name stays"
            time.sleep(0.05)
        server.terminate()
        sys.exit(server.wait())
        """
    )
    alone = in_namespace("--net", "--uts", sys.executable, "-c", script)
    ended = subprocess.run(alone, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr
