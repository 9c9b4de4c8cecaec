"""compose.yaml: the labs without a cluster, started with the installed compose tool."""

import re
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from tests.images.conftest import ROOT
from tests.images.engine import docker, run, unique
from tests.needs import require, works
from tests.server import PATIENCE, Answer, Client, request, wait_for

ENOUGH = 60  # requests; the probability that one of three replicas gets none is one in ten billion
REPLICAS = {"whoami": 2, "whoareyou": 3, "kubia": 3}


class Labs:
    """The running labs, asked through nginx."""

    def __init__(self, prefix: str) -> None:
        require("compose")
        project = unique("labs")
        self.command = ["docker", "compose"] if works("docker", "compose", "version") else ["docker-compose"]
        self.command += ["--file", str(ROOT / "compose.yaml"), "--project-name", project]
        # the images of these tests; port 0 is any that is free
        self.env = {"PREFIX": prefix, "LAB_PORT": "0"}
        self.port = 0

    def compose(self, *arguments: str) -> str:
        """The output of a compose command."""
        return run(*self.command, *arguments, env=self.env)

    def up(self) -> None:
        """Starts everything, and waits until nginx finds each service."""
        self.compose("build", "nginx")
        self.compose("up", "--detach", "--no-build")
        self.port = int(self.compose("port", "nginx", "8080").strip().rpartition(":")[2])
        for name in REPLICAS:
            wait_for(partial(self.serves, name), within=2 * PATIENCE)

    def serves(self, service: str) -> bool:
        """Whether nginx finds a replica of a service; until it listens, Docker resets or closes connections."""
        try:
            return self.get(f"{service}.localhost").status == 200
        except (OSError, AssertionError):
            return False

    def get(self, host: str, path: str = "/", *headers: str) -> Answer:
        """The answer to a request for a host, through nginx."""
        raw = request(path, "Connection: close", *headers).replace(b"whoami.example", host.encode())
        with Client(socket.create_connection(("127.0.0.1", self.port), PATIENCE)) as client:
            client.send(raw)
            answer = client.read(raw)
            assert answer is not None
            return answer

    def on_utils(self, command: str) -> str:
        """The output of a shell command in the utils container."""
        return self.compose("exec", "-T", "utils", "bash", "-c", command)

    def containers(self, service: str) -> set[str]:
        """The ids of a service's containers; the first twelve digits are its host name."""
        return set(self.compose("ps", "--quiet", service).split())


@pytest.fixture(scope="module")
def labs(prefix: str) -> Iterator[Labs]:
    """The labs, up until the end of this module."""
    labs = Labs(prefix)
    try:
        labs.up()
        yield labs
    finally:
        labs.compose("down", "--timeout", "5", "--volumes")


def hit(answer: Answer) -> str:
    """The replica that answered."""
    found = re.search(rb"Hostname: (\w+)|You've hit (\w+) ", answer.body)
    assert found, answer
    return (found[1] or found[2]).decode()


@pytest.mark.parametrize("name", REPLICAS)
def test_requests_spread_over_all_replicas(labs: Labs, name: str) -> None:
    """Every replica of a service answers some of the requests that nginx gets for it."""
    replicas = {container[:12] for container in labs.containers(name)}
    assert len(replicas) == REPLICAS[name]
    # nginx leaves out a replica that it found closed, for a while
    wait_for(
        lambda: {hit(labs.get(f"{name}.localhost")) for _ in range(ENOUGH)} == replicas, within=2 * PATIENCE
    )


@pytest.mark.parametrize(
    ("host", "path", "shown"),
    [
        ("localhost", "/", b"Name: whoami\n"),
        ("localhost", "/any/thing", b"Name: whoami\n"),
        ("localhost", "/whoareyou", b"Name: whoareyou\n"),
        ("localhost", "/whoareyou/x", b"Name: whoareyou\n"),
        ("localhost", "/kubia", b"You've hit "),
        ("whoareyou.localhost", "/", b"Name: whoareyou\n"),
        ("kubia.localhost", "/", b"You've hit "),
        ("my.whereami.svc", "/", b"You've hit "),
    ],
)
def test_nginx_chooses_by_host_and_path(labs: Labs, host: str, path: str, shown: bytes) -> None:
    """As the labs' ingresses do."""
    assert labs.get(host, path).body.startswith(shown)


def test_nginx_tells_who_asked(labs: Labs) -> None:
    """The forwarding headers arrive at whoami, and show a chain of proxies."""
    answer = labs.get("whoami.localhost:8000", "/x?y", "X-Forwarded-For: 192.0.2.7")
    shown = dict(re.findall(r"^([\w-]+): (.*?)\r?$", answer.body.decode(), re.MULTILINE))
    client = shown["X-Real-Ip"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", client)
    assert {name: shown[name] for name in shown if name.startswith("X-Forwarded") or name == "Host"} == {
        "Host": "whoami.localhost:8000",
        "X-Forwarded-For": f"192.0.2.7, {client}",
        "X-Forwarded-Host": "whoami.localhost:8000",
        "X-Forwarded-Proto": "http",
    }
    assert b"GET /x?y HTTP/1.1\r\n" in answer.body


def test_a_websocket_passes_nginx(labs: Labs) -> None:
    """The upgrade reaches whoami's echo."""
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    raw = request("/echo", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    with Client(socket.create_connection(("127.0.0.1", labs.port), PATIENCE)) as client:
        client.send(raw)
        answer = client.read(b"HEAD")
    assert answer is not None
    assert (answer.status, answer.header("Sec-WebSocket-Accept")) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


@pytest.mark.parametrize(
    "command",
    [
        "host -t A kubia | sed 's/.* //'",
        "dig +short kubia",
        "nslookup kubia | sed -n '/^Name/,$ s/Address: //p'",
    ],
    ids=["host", "dig", "nslookup"],
)
def test_one_name_stands_for_all_replicas(labs: Labs, command: str) -> None:
    """DNS answers with the addresses of all three kubia, whichever tool asks."""
    network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    addresses = {docker("inspect", "--format", network, name).strip() for name in labs.containers("kubia")}
    assert len(addresses) == 3
    assert sorted(labs.on_utils(command).split()) == sorted(addresses)


def test_utils_reaches_kubia_by_its_name(labs: Labs) -> None:
    """The labs' loop, without nginx."""
    lines = labs.on_utils("for i in $(seq 1 10); do curl --silent kubia:8080; done").splitlines()
    assert len(lines) == 10
    assert {line.split()[2] for line in lines} <= {name[:12] for name in labs.containers("kubia")}


def test_the_commands_of_the_readme(labs: Labs) -> None:
    """Each prints what is documented; the tests themselves use up and down."""
    blocks = re.findall(r"```sh\n(docker compose up .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    first, *commands, last = blocks[0].splitlines()
    assert (first, last) == ("docker compose up --build --detach", "docker compose down")
    compose = " ".join(labs.command)
    typed = "\n".join(commands).replace("docker compose", compose).replace(":8000", f":{labs.port}")
    typed = typed.replace(" exec ", " exec -T ")  # the tests have no terminal
    whoami, whoareyou, kubia, names = (run("bash", "-c", line, env=labs.env) for line in typed.splitlines())
    assert whoami.startswith("Name: whoami\n")
    assert whoareyou.startswith("Name: whoareyou\n")
    assert kubia.count("You've hit ") == 6
    assert names.count("kubia has address ") == 3


@pytest.mark.slow
def test_a_replaced_replica_is_found(labs: Labs) -> None:
    """nginx resolves again: the labs keep answering after a replica restarts with another address."""
    victim = sorted(labs.containers("whoareyou"))[0]
    docker("kill", victim)
    assert {labs.get("whoareyou.localhost").status for _ in range(20)} == {200}
    docker("start", victim)
    wait_for(lambda: hit(labs.get("whoareyou.localhost")) == victim[:12])
