"""The clients that the labs use: curl and ping in whereami, many in utils."""

import re
import subprocess

import pytest

from tests.images.engine import HARDENED, Container, docker, network, unique
from tests.server import PATIENCE


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("curl --silent localhost:8080", r"You've hit \w+ on this node: node1\n"),
        ("curl --silent {whoami}/bench", "1"),
        ("ping -c 1 -W 5 {whoami}", "1 received"),
        ("ping -c 1 -W 5 localhost", "1 received"),
    ],
    ids=["curl itself", "curl another pod", "ping another pod", "ping a name"],
)
def test_whereami_has_curl_and_ping(
    whereami_container: Container, whoami_container: Container, command: str, shown: str
) -> None:
    """`docker exec … curl …`, like the labs' `kubectl exec … -- curl …`."""
    done = whereami_container.execute(
        *command.format(whoami=network(whoami_container.name)["IPAddress"]).split()
    )
    assert done.returncode == 0, done.stderr
    assert re.search(shown, done.stdout)


def test_whereamis_curl_trusts_the_usual_authorities(whereami_container: Container) -> None:
    """It supports TLS and finds Mozilla's authorities; here no server speaks TLS, and it says so."""
    done = whereami_container.execute("curl", "--silent", "--verbose", "https://localhost:8080")
    assert done.returncode == 35
    assert "CAfile: /etc/ssl/certs/ca-certificates.crt" in done.stderr


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("id -u", "65532"),
        ("curl -s {whoami}/bench", "1"),
        ("wget -qO- http://{whoami}/bench", "1"),
        (r"printf 'GET /bench HTTP/1.0\r\n\r\n' | nc -N {whoami} 80", r"(?s)200 OK.*1$"),
        ("curl -s {whoami}/api | jq -r .method", "GET"),
        ("ping -c 1 -W 5 {whoami}", "1 received"),
        ("traceroute -n -m 2 -w 5 {whoami}", r"\n 1  {whoami} "),
        ("ip -brief address", r"eth0\S+ +UP"),
        ("ss -ltn", "State"),
        ("openssl rand -hex 4", r"[0-9a-f]{8}"),
        ("host -V 2>&1", r"host 9\."),
        ("dig -v 2>&1", r"DiG 9\."),
        ("nslookup -version", r"nslookup 9\."),
        ("vi --version", "VIM"),
        ("ps -o comm= -p 1", "bash"),
        ("watch --version", "watch from procps"),
        ("less --version", "less [0-9]+"),
        ("telnet --version", "telnet"),
        ("tcpdump --version 2>&1", "tcpdump version"),
    ],
    ids=lambda value: value.split()[0] if " " in value else "",
)
def test_utils_has_the_labs_clients(utils: str, whoami_container: Container, command: str, shown: str) -> None:
    """Each tool works for the image's user, with no capability at all."""
    whoami = network(whoami_container.name)["IPAddress"]
    done = docker("exec", utils, "bash", "-o", "pipefail", "-c", command.replace("{whoami}", whoami))
    assert re.search(shown.replace("{whoami}", re.escape(whoami)), done), done


def test_tcpdump_captures_where_a_capability_allows_it(utils: str, prefix: str) -> None:
    """As root with default capabilities, as in lab 7; otherwise one line says what is missing."""
    refused = subprocess.run(["docker", "exec", utils, "tcpdump", "-c", "1"], capture_output=True, text=True)
    assert "You don't have permission to perform this capture" in refused.stderr
    capture = "ping -q -i 0.2 localhost >/dev/null & timeout 40 tcpdump -Z root -c 1 -ni any icmp"
    seen = docker("run", "--rm", "--user=0", f"{prefix}utils", "bash", "-c", capture)
    assert "ICMP echo request" in seen


def test_utils_stays_on_glibc(utils: str) -> None:
    """Its resolver sorts addresses as the DNS labs show; another C library's does not."""
    assert "GLIBC" in docker("exec", utils, "ldd", "--version")


def test_utils_stays_until_it_is_stopped(prefix: str) -> None:
    """It idles, and exits with status 0 as soon as it gets SIGTERM."""
    name = unique("utils")
    docker("run", "--detach", "--name", name, *HARDENED, f"{prefix}utils")
    try:
        assert docker("exec", name, "cat", "/proc/1/cmdline").endswith("sleep infinity & wait\0")
        docker("kill", "--signal", "TERM", name)
        assert (
            subprocess.run(["docker", "wait", name], capture_output=True, text=True, timeout=PATIENCE).stdout
            == "0\n"
        )
    finally:
        docker("rm", "--force", name)
