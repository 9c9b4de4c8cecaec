"""How the servers live in a container: restricted, on port 80, with health, until a signal ends them."""

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
    """Not root, no capability, no way to new privileges, a root file system that can't be written."""
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
    """Even where it may, a server that has answered all its paths has changed no file."""
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
    """The program is process 1, gets the signal, and leaves with status 0 long before the engine kills it."""
    with contained(f"{prefix}{name}", port=PORTS[name]) as container:
        assert container.get("/").status == 200
        docker("kill", "--signal", number.name, container.name)
        wait_for(lambda: container.process.poll() is not None, within=5)
        assert container.state()["ExitCode"] == 0


def test_docker_stop_lets_requests_finish(prefix: str) -> None:
    """A request in progress gets its answer; then the container ends by itself."""
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
    """How many clients are connected, by the kernel's table; 01 is ESTABLISHED."""
    with open(f"/proc/{container.state()['Pid']}/net/tcp6") as table:
        return sum(line.split()[3] == "01" for line in table)


def has_health(container: Container, health: str) -> Callable[[], bool]:
    """Whether the engine says so by now."""
    return lambda: container.state()["Health"]["Status"] == health


@pytest.mark.parametrize("name", PORTS)
def test_the_engine_sees_the_health(prefix: str, name: str) -> None:
    """The image's own check, made to run more often here, finds the server healthy."""
    options = [*HARDENED, "--health-interval=500ms"]
    with contained(f"{prefix}{name}", port=PORTS[name], options=options) as container:
        wait_for(has_health(container, "healthy"), within=20)


def test_the_engine_sees_illness_and_recovery(prefix: str) -> None:
    """`POST 500 /health` makes the container unhealthy, `POST 200 /health` healthy again."""
    options = [*HARDENED, "--health-interval=500ms", "--health-retries=1"]
    with contained(f"{prefix}whoami", options=options) as container:
        for status, health in ((b"200", "healthy"), (b"500", "unhealthy"), (b"200", "healthy")):
            container.get("/health", method="POST", body=status)
            wait_for(has_health(container, health), within=20)


def test_the_health_check_follows_the_port_variable(prefix: str) -> None:
    """Another port by WHOAMI_PORT_NUMBER is checked too; by --port alone it can't be known."""
    with contained(f"{prefix}whoami", port=8000, env={"WHOAMI_PORT_NUMBER": "8000"}) as container:
        assert container.execute("whoami", "healthcheck").returncode == 0
        assert (
            "Connection refused" in container.execute("whoami", "healthcheck", "http://127.0.0.1/health").stderr
        )


class TestWherePort80IsPrivileged:
    """An engine that leaves the kernel's setting as it is: ports below 1024 are for root."""

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
    """It tells the host name and the address that the engine gave it."""
    assert isinstance(whoami_container, Server)
    text = whoami_container.get("/").body.decode()
    assert f"Hostname: {inspect(whoami_container.name)['Config']['Hostname']}\n" in text
    assert f"IP: {network(whoami_container.name)['IPAddress']}\n" in text
