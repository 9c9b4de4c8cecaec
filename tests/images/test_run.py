"""The servers in a container: restricted, on port 80, with health checks, until a signal."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable

import pytest

from tests.images.engine import HARDENED, USER, Container, contained, docker, inspect, network
from tests.server import Answer, Server, wait_for

PORTS = {"whoami": 80, "whereami": 8080}


@pytest.mark.parametrize("fixture", ["whoami_container", "whereami_container"])
def test_a_server_runs_as_restricted_as_can_be(fixture: str, request: pytest.FixtureRequest) -> None:
    """Not root, no capabilities, no new privileges, and a read-only root file system."""
    container: Container = request.getfixturevalue(fixture)
    assert container.get("/").status == 200
    pid = container.state()["Pid"]
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    assert [status[name].split()[0] for name in ("Uid", "Gid")] == USER.split(":")
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert inspect(container.name)["HostConfig"]["ReadonlyRootfs"] is True


def test_flags_are_appended(prefix: str) -> None:
    """`docker run -p … whoami --name iamfoo`, as with the original."""
    with contained(f"{prefix}whoami", "--name", "iamfoo", options=()) as container:
        assert container.get("/").body.startswith(b"Name: iamfoo\nHostname: ")


@pytest.mark.parametrize("shell", ["sh", "/bin/sh", "bash", "ash", "busybox"])
@pytest.mark.parametrize("fixture", ["whoami_container", "whereami_container"])
def test_there_is_no_shell(fixture: str, shell: str, request: pytest.FixtureRequest) -> None:
    """`docker exec … sh` fails."""
    container: Container = request.getfixturevalue(fixture)
    done = container.execute(shell, "-c", "true")
    assert done.returncode in (126, 127)
    assert "not found" in done.stdout + done.stderr or "no such file" in done.stdout + done.stderr


@pytest.mark.parametrize("name", PORTS)
def test_nothing_is_written(prefix: str, name: str) -> None:
    """A server that has answered all its paths has changed no file, even with a writable file system."""
    with contained(f"{prefix}{name}", port=PORTS[name], options=()) as container:
        for path in (
            "/",
            "/api",
            "/bench",
            "/data?size=10&unit=KB&attachment=true",
            "/health",
            "/openapi.yaml",
        ):
            assert container.get(path).status == 200, path
        assert container.execute(name, "healthcheck").returncode == 0
        assert docker("diff", container.name) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("name", PORTS)
def test_a_signal_ends_process_1(prefix: str, name: str, number: signal.Signals) -> None:
    """The program is process 1, gets the signal, and exits with status 0 long before it is killed."""
    with contained(f"{prefix}{name}", port=PORTS[name]) as container:
        assert container.get("/").status == 200
        docker("kill", "--signal", number.name, container.name)
        wait_for(lambda: container.process.poll() is not None)
        assert container.state()["ExitCode"] == 0


def test_docker_stop_lets_requests_finish(prefix: str) -> None:
    """A request in flight gets its answer; then the container exits by itself."""
    answers: list[Answer] = []
    with contained(f"{prefix}whoami", "--verbose") as container:
        asking = threading.Thread(target=lambda: answers.append(container.get("/?wait=2s")))
        asking.start()
        wait_for(lambda: _connections(container) > 0)
        docker("stop", "-t", "30", container.name)
        asking.join()
        assert container.state()["ExitCode"] == 0
    assert [answer.status for answer in answers] == [200]


def _connections(container: Container) -> int:
    """The number of connected clients in the kernel's table; 01 is ESTABLISHED."""
    with open(f"/proc/{container.state()['Pid']}/net/tcp6") as table:
        return sum(line.split()[3] == "01" for line in table)


def processes(container: Container) -> set[int]:
    """The ids of a container's processes on this machine, including zombies."""
    return {int(line) for line in docker("top", container.name, "-o", "pid").splitlines()[1:]}


def test_workers_follow_the_containers_cpus(prefix: str) -> None:
    """`--workers auto` uses the container's CPUs, not the machine's."""
    with contained(f"{prefix}whoami", "--workers", "auto", options=[*HARDENED, "--cpus=1"]) as container:
        assert container.get("/").status == 200
        assert len(processes(container)) == 1


def test_process_1_replaces_workers_and_leaves_no_zombie(prefix: str) -> None:
    """A crashed worker is replaced and reaped; SIGTERM ends all."""
    with contained(f"{prefix}whoami", "--workers", "2", options=HARDENED) as container:
        first = container.state()["Pid"]
        wait_for(lambda: len(processes(container)) == 3)
        victim = max(processes(container) - {first})
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in processes(container) and len(processes(container)) == 3)
        assert container.get("/").status == 200
        docker("stop", "-t", "30", container.name)
        assert container.state()["ExitCode"] == 0


def has_health(container: Container, health: str) -> Callable[[], bool]:
    """Whether the engine reports this health."""
    return lambda: container.state()["Health"]["Status"] == health


@pytest.mark.parametrize("name", PORTS)
def test_the_engine_sees_the_health(prefix: str, name: str) -> None:
    """The image's own check, run more often here, finds the server healthy."""
    options = [*HARDENED, "--health-interval=500ms"]
    with contained(f"{prefix}{name}", port=PORTS[name], options=options) as container:
        wait_for(has_health(container, "healthy"))


def test_the_engine_sees_illness_and_recovery(prefix: str) -> None:
    """`POST 500 /health` makes the container unhealthy, `POST 200 /health` healthy again."""
    options = [*HARDENED, "--health-interval=500ms", "--health-retries=1"]
    with contained(f"{prefix}whoami", options=options) as container:
        for status, health in ((b"200", "healthy"), (b"500", "unhealthy"), (b"200", "healthy")):
            container.get("/health", method="POST", body=status)
            wait_for(has_health(container, health))


def test_the_health_check_follows_the_port_variable(prefix: str) -> None:
    """A port in WHOAMI_PORT_NUMBER is checked; one in --port is unknown to the check."""
    with contained(f"{prefix}whoami", port=8000, env={"WHOAMI_PORT_NUMBER": "8000"}) as container:
        assert container.execute("whoami", "healthcheck").returncode == 0
        assert (
            "Connection refused" in container.execute("whoami", "healthcheck", "http://127.0.0.1/health").stderr
        )


class TestWherePort80IsPrivileged:
    """An engine that keeps the kernel's default: ports below 1024 are for root."""

    STRICT = (*HARDENED, "--sysctl=net.ipv4.ip_unprivileged_port_start=1024")

    def test_a_line_says_so(self, prefix: str) -> None:
        """One line, exit status 1."""
        command = ["docker", "run", "--rm", *self.STRICT, f"{prefix}whoami"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert "port 80 is privileged" in done.stderr

    @pytest.mark.parametrize(
        ("port", "arguments", "options"),
        [
            (8080, ["--port", "8080"], STRICT),
            (80, [], (*HARDENED, "--sysctl=net.ipv4.ip_unprivileged_port_start=80")),
        ],
        ids=["another port", "the setting"],
    )
    def test_what_the_readme_says_helps(
        self, prefix: str, port: int, arguments: list[str], options: tuple[str, ...]
    ) -> None:
        """Another port, or the setting for this container."""
        with contained(f"{prefix}whoami", *arguments, port=port, options=options) as container:
            assert container.get("/bench").body == b"1"


def test_a_container_is_a_server_like_any_other(whoami_container: Container) -> None:
    """It shows the host name and address that the engine assigned."""
    assert isinstance(whoami_container, Server)
    text = whoami_container.get("/").body.decode()
    assert f"Hostname: {inspect(whoami_container.name)['Config']['Hostname']}\n" in text
    assert f"IP: {network(whoami_container.name)['IPAddress']}\n" in text
