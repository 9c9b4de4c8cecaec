"""whoami watch against real servers, behind balancers and proxies as in a cluster."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import issue
from tests.proxies import balancer, nginx, pod, traefik
from tests.readme import README, shown
from tests.server import PATIENCE, Server, wait_for
from tests.watching import command, run_watch

ONE, TWO = "whoami-6c4f9d-4wzkx", "whoami-6c4f9d-n8jtd"


@pytest.fixture(scope="module")
def pods() -> Iterator[list[Server]]:
    """Two whoami that log each request."""
    with pod("whoami", ONE, "--verbose") as one, pod("whoami", TWO, "--verbose") as two:
        yield [one, two]


def served(server: Server, *texts: str) -> int:
    """The number of logged requests whose lines contain all these texts."""
    return sum(all(text in line for text in ("HTTP/", *texts)) for line in list(server.err))


def wait_for_log(pods: list[Server], before: list[int], number: int) -> list[int]:
    """Waits until all are logged; returns how many requests each server got since."""

    def since() -> list[int]:
        return [served(each) - old for each, old in zip(pods, before, strict=True)]

    wait_for(lambda: sum(since()) >= number)
    return since()


def test_a_service_picks_a_pod_for_each_connection(pods: list[Server]) -> None:
    """Four ways, and every number matches the servers'."""
    before = [served(each) for each in pods]
    with balancer([each.port for each in pods]) as service:
        watched = run_watch("--all", service.url)
    assert (watched.status, watched.err) == (0, "")
    rows = [watched.counts(way) for way in ("new connections", "keep-alive", "HTTP/2", "gRPC")]
    assert rows == [[15, 15, 30], [30, 0, 1], [0, 30, 1], [30, 0, 1]]
    assert wait_for_log(pods, before, 120) == [sum(row[0] for row in rows), sum(row[1] for row in rows)]
    assert [service.connections[each.port] for each in pods] == [17, 16]
    assert watched.out == shown("whoami watch --all")[1]


def test_kubia_tells_its_node() -> None:
    """It has no gRPC, which does not count as a loss."""
    with (
        pod("whereami", "kubia-0", env={"nodename": "worker1"}) as one,
        pod("whereami", "kubia-1", env={"NODE_NAME": "worker2"}) as two,
        balancer([one.port, two.port]) as service,
    ):
        watched = run_watch("-n", "10", "--all", service.url)
        lines = watched.out.splitlines()
        assert lines[0] == "10 requests, four ways   kubia-0 worker1   kubia-1 worker2   connections"
        assert [watched.counts(way) for way in ("new connections", "keep-alive")] == [[5, 5, 10], [10, 0, 1]]
        assert lines[4].endswith("not spoken here")
        assert watched.status == 0
        said = [sum("Received request" in line for line in server.out) for server in (one, two)]
        assert said == [10 + 5 + 1, 10 + 5]  # plus the one call that found no gRPC


def test_whoami_tells_its_node_by_another_path() -> None:
    """`/` has no place for it, so that it stays the original's."""
    with pod("whoami", ONE, env={"NODE_NAME": "worker1"}) as server:
        url = f"http://127.0.0.1:{server.port}"
        head = [run_watch("--all", *path, url).out.splitlines()[0] for path in ([], ["--path", "/.who"])]
    assert head == [f"30 requests, four ways   4wzkx{node}   connections" for node in ("", " worker1")]


def test_nginx_spreads_requests_of_one_connection(pods: list[Server], tmp_path: Path) -> None:
    """Over TLS, with a trusted authority; every number matches the servers'."""
    authority = issue("authority", is_authority=True)
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    identity = issue("whoami", authority, hosts=("whoami.example",))
    before = [served(each) for each in pods]
    with nginx([each.port for each in pods], tls=identity, grpc=True) as proxy:
        url = f"https://whoami.example:{proxy.port}"
        there = ["--resolve", f"whoami.example:{proxy.port}:127.0.0.1"]
        watched = run_watch("--all", "--cacert", str(tmp_path / "ca.crt"), *there, url)
        stranger = run_watch("-n", "1", "--http2", *there, url)
        careless = run_watch("-n", "1", "--http2", "--insecure", *there, url)
    rows = [watched.counts(way) for way in ("new connections", "keep-alive", "HTTP/2", "gRPC")]
    assert rows == [[15, 15, 30], [15, 15, 1], [15, 15, 1], [15, 15, 1]]
    assert wait_for_log(pods, before, 121) in ([61, 60], [60, 61])
    assert watched.out.endswith("An HTTP proxy is in between: it spreads requests of one connection.\n")
    assert (watched.status, stranger.status, careless.status) == (0, 1, 0)
    assert "give --cacert FILE, or --insecure" in stranger.out


@pytest.mark.slow
def test_traefik_with_a_sticky_cookie(pods: list[Server]) -> None:
    """With cookies, a client stays with one pod; without, it sees both."""
    ports = [each.port for each in pods]
    with traefik(ports, tls=issue("whoami"), scheme="h2c", sticky="who", prefix="/whoareyou") as proxy:
        url = ["--insecure", f"{proxy.url}/whoareyou"]
        spread = [run_watch("-n", "10", way, *url) for way in ("--keep-alive", "--http2")]
        stuck = [run_watch("-n", "10", "--cookies", *url)]
        stuck += [run_watch("-n", "10", "--cookies", way, *url) for way in ("--keep-alive", "--http2")]
        outside = run_watch("-n", "1", "--insecure", proxy.url)
    assert [each.status for each in (*spread, *stuck)] == [0] * 5
    assert all("An HTTP proxy is in between" in each.out for each in spread)
    assert [len(re.findall("4wzkx|n8jtd", each.out)) for each in stuck] == [1, 1, 1]
    assert "One pod answers all: sticky, or only one is ready.\n" in stuck[0].out
    assert "1 without a name" in outside.out


def test_a_proxy_that_refuses_http2(pods: list[Server]) -> None:
    """It refuses in the TLS handshake, as Go's servers do: a remark, not a loss."""
    with traefik([each.port for each in pods], tls=issue("whoami"), http2=False) as proxy:
        watched = run_watch("-n", "4", "--all", "--insecure", proxy.url)
    assert (watched.status, watched.out.count("not spoken here")) == (0, 2)
    assert watched.counts("keep-alive") == [2, 2, 1]


def test_traefik_without_tls_speaks_http2_too(pods: list[Server]) -> None:
    """With prior knowledge; gRPC passes if the backends use HTTP/2, otherwise it is missing."""
    with traefik([each.port for each in pods], scheme="h2c") as proxy:
        watched = run_watch("-n", "10", "--all", proxy.url)
    assert watched.status == 0
    assert [watched.counts(way) for way in ("keep-alive", "HTTP/2", "gRPC")] == [[5, 5, 1]] * 3
    with traefik([each.port for each in pods]) as proxy:
        watched = run_watch("-n", "10", "--all", proxy.url)
    assert watched.status == 0
    assert watched.counts("HTTP/2") == [5, 5, 1]
    assert watched.out.splitlines()[4].endswith("not spoken here")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["new connections", "keep-alive", "HTTP/2"])
def test_a_rollout_is_seen(pods: list[Server], way: str) -> None:
    """A pod joins and another leaves; nothing is lost, and every number matches the servers'."""
    flags = {"new connections": [], "keep-alive": ["--keep-alive"], "HTTP/2": ["--http2"]}[way]
    with (
        pod("whoami", "whoami-6c4f9d-old1x", "--verbose") as old,
        pod("whoami", "whoami-77b5d8-p7c2f", "--verbose") as new,
        balancer([old.port]) as service,
    ):
        arguments = command(*flags, "--rate", "50", service.url)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_for(lambda: served(old) >= 30)
            service.ports[:] = [new.port]
            old.stop()
            wait_for(lambda: served(new) >= 150)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        new.stop()
    summary = next(line for line in out.splitlines() if "(refused" in line)
    total = served(old) + served(new)
    assert summary == f"{total} requests, 2 pods, 0 lost (refused 0, reset 0, timed out 0, 5xx 0)"
    row = next(line for line in out.splitlines() if line.startswith(way + " "))
    assert row.split()[len(way.split()) :][:2] == [str(served(old)), str(served(new))]
    assert "+ p7c2f joined\n" in out
    assert re.search(r"^- old1x left, last answer \d\d:\d\d:\d\d\.\d$", out, re.MULTILINE)
    assert (process.returncode, err) == (0, "")


def test_a_pod_that_is_killed_loses_requests() -> None:
    """They are counted by kind, and the exit status is 1."""
    with (
        pod("whoami", ONE) as kept,
        pod("whoami", TWO) as killed,
        balancer([kept.port, killed.port]) as service,
    ):
        killed.process.kill()
        killed.process.wait()
        watched = run_watch("-n", "20", service.url)
        killed.process.returncode = 0  # so that stopping it is not a failure
    assert watched.status == 1
    assert watched.summary == "20 requests, 1 pod, 10 lost (refused 0, reset 10, timed out 0, 5xx 0)"


class Terminal:
    """A process on a terminal of 24 lines and 100 columns."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.master, slave = pty.openpty()
        size = {"LINES": "24", "COLUMNS": "100", "TERM": "xterm"}
        environ = {**os.environ, "NO_COLOR": "", **size, **env}
        self.process = subprocess.Popen(
            command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def read_until(self, text: str) -> str:
        """The output so far, once it contains a text, or all of it at the end."""
        deadline = time.monotonic() + 3 * PATIENCE
        while text not in self.text or not text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 1 << 16).decode()
                except OSError:  # the other end is closed
                    break
        return self.text

    def end(self) -> int:
        """The exit status, after reading all output."""
        self.read_until("")
        os.close(self.master)
        return self.process.wait(PATIENCE)


def test_a_terminal_is_redrawn_in_place(pods: list[Server]) -> None:
    """A second's lines replace the previous ones; Ctrl-C ends with the summary."""
    with balancer([each.port for each in pods]) as service:
        terminal = Terminal("--rate", "40", service.url)
        terminal.read_until("\x1b[3F\x1b[J")
        assert "\x1b[36m█" in terminal.text
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0
    assert re.search(r"\d+ requests, 2 pods, 0 lost \(refused 0,", terminal.text)


def test_no_colour_where_none_is_wanted(pods: list[Server]) -> None:
    """NO_COLOR disables colours; a dumb terminal also disables redrawing."""
    with balancer([each.port for each in pods]) as service:
        plain = Terminal("--rate", "40", "-n", "60", service.url, NO_COLOR="1")
        assert plain.end() == 0
        dumb = Terminal("--rate", "40", "-n", "60", service.url, TERM="dumb")
        assert dumb.end() == 0
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", plain.text)) == {"\x1b[3F", "\x1b[J"}
    assert "\x1b" not in dumb.text


def test_a_second_signal_does_not_wait(pods: list[Server]) -> None:
    """The first one waits for requests in flight."""
    url = f"http://127.0.0.1:{pods[0].port}/?wait=30s"
    with subprocess.Popen(
        command("--timeout", "1m", url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        connections = Path(f"/proc/{process.pid}/net/tcp")
        port = f":{pods[0].port:04X} 01"
        wait_for(lambda: port in connections.read_text())
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert "Nobody answered." in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: URL"),
        (["ftp://whoami"], "'ftp://whoami' is not a URL: give one such as http://whoami-service"),
        (["http://"], "'http://' is not a URL"),
        (["http://a:99999"], "'http://a:99999' is not a URL"),
        (["-n", "0", "a"], "-n: '0' is not a number of requests: give 1 to 1000000"),
        (["--rate", "0", "a"], "--rate: '0' is not a rate: give up to 1000 requests a second"),
        (["--rate", "nan", "a"], "--rate: 'nan' is not a rate"),
        (["-timeout=5", "a"], "--timeout: "),
        (["--timeout", "0s", "a"], "--timeout: '0s' is not a timeout"),
        (["--http2", "--grpc", "a"], "--grpc: not allowed with argument --http2"),
        (["--rate", "5", "--all", "a"], "--rate: not allowed with --all: choose one kind of connection"),
        (["--resolve", "a:80", "a"], "--resolve: 'a:80' is not HOST:PORT:ADDRESS"),
        (["--cacert", "/nowhere", "https://a"], "--cacert /nowhere: No such file or directory"),
        (["--path", "x", "a"], "--path 'x': it must begin with /"),
        (["--nosuch", "a"], "unrecognized arguments: --nosuch"),
    ],
)
def test_a_bad_command_line(arguments: list[str], text: str) -> None:
    """One line says what is wrong; the exit status is 2."""
    watched = run_watch(*arguments)
    assert (watched.status, watched.out) == (2, "")
    assert watched.err.startswith(f"whoami watch: {text}")
    assert watched.err.endswith(" (see whoami watch --help)\n")
    assert watched.err.count("\n") == 1


def test_flags_are_listed() -> None:
    """--help lists them, even after a mistake, and the README lists each of those."""
    watched = run_watch("--nosuch", "--help")
    flags = set(re.findall(r"^  (--?[a-z0-9-]+)", watched.out, re.MULTILINE)) - {"--help"}
    assert watched.status == 0
    assert len(flags) == 13
    assert {flag for flag in flags if f"`{flag}" not in README} == set()


def test_a_reader_that_has_enough(pods: list[Server]) -> None:
    """It exits silently when nobody reads any more."""
    words = " ".join(command("--json", "--rate", "100", f"http://127.0.0.1:{pods[0].port}"))
    run = subprocess.run(
        f"{words} | head -1", shell=True, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert (run.stdout.count("\n"), run.stderr) == (1, "")
