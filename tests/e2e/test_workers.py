"""Several processes on one port: they answer as one, and start and stop together."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from podkit.process.cpus import count_cpus
from tests.server import PATIENCE, REST, UNFINISHED, Server, has_unread, request, started, wait_for

ASK = request("/bench")


def workers(server: Server) -> list[int]:
    """The process ids of the workers."""
    pid = server.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processes_that_answer(server: Server) -> set[int]:
    """The workers that accept some of many connections."""
    holders = set()
    clients = [server.connect() for _ in range(32)]
    try:
        for client in clients:
            client.send(ASK)
            assert client.read() is not None
        for pid in workers(server):
            links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
            if sum("socket:" in link for link in links) > 6:  # more than a worker's own
                holders.add(pid)
    finally:
        for client in clients:
            client.__exit__()
    return holders


def test_connections_are_spread() -> None:
    """One port, all workers serve, and a line shows their number."""
    with started("whoami", "--workers", "3") as server:
        wait_for(lambda: len(workers(server)) == 3)
        assert len(processes_that_answer(server)) == 3
        assert server.err[0].endswith(" with 3 workers\n")


def test_a_connections_id_is_its_own() -> None:
    """Among those of all workers, and it stays the same for its requests."""
    with started("whoami", "--workers", "2") as server, ExitStack() as stack:
        seen: list[tuple[str, int]] = []
        for _ in range(64):
            client = stack.enter_context(server.connect())
            for _ in range(2):
                client.send(request("/.who"))
                answer = client.read()
                assert answer is not None
                connection = json.loads(answer.body)["connection"]
                seen.append((connection["id"], connection["request"]))
        assert sorted(seen) == sorted({(name, number) for name, _ in seen for number in (1, 2)})
        assert len(seen) == 128
        assert {name[:3] for name, _ in seen} == {"w1-", "w2-"}


def test_health_holds_on_all() -> None:
    """A change on one worker applies to all."""
    with started("whoami", env={"WHOAMI_WORKERS": "3"}) as server:
        for status in (503, 200):
            assert server.get("/health", method="POST", body=b"%d" % status).status == 200
            assert {server.get("/health").status for _ in range(30)} == {status}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_dead_worker_is_replaced(number: signal.Signals) -> None:
    """With a log line; the status is kept, and no connection is refused meanwhile."""
    with started("whoami", "--workers", "2") as server:
        server.get("/health", method="POST", body=b"503")
        dead, other = workers(server)
        os.kill(dead, number)
        for _ in range(10):
            assert server.get("/health").status == 503
        wait_for(lambda: any(f"worker {dead}" in line and "another" in line for line in server.err))
        wait_for(lambda: len(workers(server)) == 2)
        assert dead not in workers(server)
        assert other in workers(server)


@pytest.mark.parametrize("program", ["whoami", "whereami"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(program: str, number: signal.Signals) -> None:
    """Requests in flight are answered, no worker remains, and the status is 0."""
    with started(program, "--workers", "2") as server:
        pids = workers(server)
        with server.connect() as client:
            client.send(UNFINISHED)
            wait_for(lambda: not has_unread(server))
            server.process.send_signal(number)
            wait_for(lambda: "leaving" in "".join(server.err))
            client.send(REST)
            assert client.read() is not None
        server.process.wait(PATIENCE)
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_workers_do_not_outlive_their_parent() -> None:
    """If the first process is killed, the others finish and exit."""
    with started("whoami", "--workers", "2") as server:
        pids = workers(server)
        server.process.kill()
        wait_for(lambda: not [pid for pid in pids if is_alive(pid)])
        server.process.wait()
        server.process.returncode = 0  # intended here


def is_alive(pid: int) -> bool:
    """Whether it runs; an unreaped zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_signal_ends_all_at_once() -> None:
    """With the status that a shell uses for it."""
    with started("whoami", "--workers", "2") as server, server.connect() as client:
        client.send(request("/?wait=1m"))
        wait_for(lambda: not has_unread(server))
        pids = workers(server)
        server.process.terminate()
        wait_for(lambda: any("leaving" in line for line in server.err))
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
        wait_for(lambda: not [pid for pid in pids if is_alive(pid)])
        server.process.returncode = 0  # intended here


@pytest.mark.parametrize("after", ["1", "2"])
@pytest.mark.parametrize("before", ["1", "2"])
def test_it_can_be_started_again_at_once(before: str, after: str) -> None:
    """Connections in TIME_WAIT do not block the port, whatever the number of workers."""
    with started("whoami", "--workers", before) as first:
        for _ in range(20):
            assert first.get("/bench", "Connection: close").status == 200  # the server closes first
    with started("whoami", "--workers", after, "--port", str(first.port)) as second:
        assert second.port == first.port
        assert second.get("/bench").status == 200


@pytest.mark.parametrize("after", ["1", "2"])
@pytest.mark.parametrize("before", ["1", "2"])
def test_a_taken_port_is_told(before: str, after: str) -> None:
    """Workers share a port, but two servers do not."""
    with started("whoami", "--workers", before) as server:
        command = [sys.executable, "-m", "whoami", "--workers", after, "--port", str(server.port)]
        second = subprocess.run(command, capture_output=True, text=True, env={}, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith(f"whoami: port {server.port} is in use")


async def test_no_log_line_is_lost_or_torn() -> None:
    """All workers write to one log, and each request has its line."""
    with started("whereami", "--workers", "2") as server:

        def ask() -> None:
            with server.connect() as client:
                for _ in range(20):
                    client.send(request("/") * 50)
                    for _ in range(50):
                        assert client.read() is not None

        await asyncio.gather(*[asyncio.to_thread(ask) for _ in range(4)])
        server.stop()
        lines = server.out[1:]
        assert lines == ["Received request from 127.0.0.1\n"] * 4000


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "20000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"kubepods/pod1/cpu.max": "max 100000\n", "kubepods/cpu.max": "30000 100000\n"}, 1),
    ],
    ids=["no cgroup", "v2 without limit", "half a CPU", "one CPU", "v1 without limit", "v1", "outer group"],
)
def test_auto_follows_the_quota(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    """The smallest quota of all cgroups around the process, and never more than its affinity."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    own = tmp_path / "self"
    own.write_text("0::/kubepods/pod1\n")
    assert count_cpus(tmp_path, own) == (expected or len(os.sched_getaffinity(0)))
