"""What lab 3 says of resolvers and connections: its own commands, in the utils image on a Docker network.

Docker's DNS gives a network alias the addresses of all its containers and shuffles them, as CoreDNS does for a
headless service; and a container has its network's mask, as a pod has on kind or flannel.
"""

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from tests.labs.guide import DOCS, examples
from tests.server import wait_for

TYPED = {example.command for example in examples(DOCS / "3-headless-and-stickiness.md") if example.inside}
CURL_LOOP = "for i in $(seq 1 30); do curl -s kubia-headless:8080; done | sort | uniq -c"
RESOLVER = "for i in $(seq 1 10); do getent ahostsv4 kubia-headless | head -1; done | sort | uniq -c"


def docker(*arguments: str) -> str:
    """What a docker command prints."""
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


class Lab:
    """The client of lab 3, and the servers behind one name."""

    def __init__(self, images: dict[str, str], subnet: str, network: str) -> None:
        self._images, self._subnet, self._network = images, subnet, network
        self.containers: list[str] = []

    def run(self, image: str, last: int, *options: str) -> str:
        """A container whose address has that last number; its name."""
        name = f"labs-test-{uuid4().hex[:10]}"
        base = ["run", "--detach", f"--name={name}", f"--hostname=kubia-{last}", f"--network={self._network}"]
        docker(*base, f"--ip={self._subnet}.{last}", *options, self._images[image])
        self.containers.append(name)
        return name

    def type(self, command: str) -> str:
        """What a command of the page prints in the utils container."""
        assert command in TYPED, "not a command of lab 3"
        # Docker's DNS tells host that there is no such name, where it has only no mail server
        return docker("exec", self.containers[0], "bash", "-c", f"{command}; true")


@contextmanager
def lab(images: dict[str, str], client: int, *servers: int, ipv6: bool = True) -> Iterator[Lab]:
    """utils, with a link-local IPv6 address or without, and kubias, at addresses with these last numbers."""
    subnet, network = f"10.{random.randint(200, 249)}.{random.randint(0, 255)}", f"labs-test-{uuid4().hex[:10]}"
    docker("network", "create", f"--subnet={subnet}.0/24", network)
    room = Lab(images, subnet, network)
    try:
        off = int(not ipv6)
        room.run(
            "utils",
            client,
            *(f"--sysctl=net.ipv6.conf.{name}.disable_ipv6={off}" for name in ("all", "default")),
        )
        for server in servers:
            room.run("whereami", server, "--network-alias=kubia-headless")
        wait_for(lambda: listening(room))
        wait_for(lambda: ("fe80::" in room.type("ip -brief address show eth0")) == ipv6)
        yield room
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", *room.containers], capture_output=True)
        subprocess.run(["docker", "network", "rm", network], capture_output=True)


def listening(room: Lab) -> bool:
    """Whether every server answers by now."""
    check = ["/usr/bin/whereami", "healthcheck"]
    asked = [subprocess.run(["docker", "exec", name, *check]).returncode for name in room.containers[1:]]
    return not any(asked)


def test_a_headless_name_sticks_to_the_nearest_address(images: dict[str, str]) -> None:
    """30 of 30 curls reach one pod, though DNS shuffles: glibc sorts by the longest matching prefix."""
    with lab(images, 10, 5, 6, 11) as room:
        assert room.type(CURL_LOOP) == "30 You've hit kubia-11 on this node: undefined"
        times, first, *_ = room.type(RESOLVER).split()
        assert (times, first.rpartition(".")[2]) == ("10", "11")
        orders: set[str] = set()

        def order_changed() -> bool:
            orders.add(room.type("host kubia-headless"))
            return len(orders) > 1

        wait_for(order_changed)


def test_a_tie_spreads_and_keep_alive_pins(images: dict[str, str]) -> None:
    """Where no address is nearer, DNS decides each time; but one curl's requests stay on its connection."""
    with lab(images, 8, 5, 6, 7) as room:
        assert len(room.type(CURL_LOOP).splitlines()) > 1
        for _ in range(5):
            answers = docker(
                "exec", room.containers[0], "curl", "-s", *["kubia-headless:8080"] * 3
            ).splitlines()
            assert len(answers) == 3
            assert len(set(answers)) == 1


def test_glibc_does_not_sort_without_ipv6(images: dict[str, str]) -> None:
    """It learns the network masks only where an interface has an IPv6 address."""
    with lab(images, 10, 5, 6, 11, ipv6=False) as room:
        assert len(room.type(CURL_LOOP).splitlines()) > 1


def test_stickiness_ends_when_the_pod_goes(images: dict[str, str]) -> None:
    """Without the nearest pod, the same client goes elsewhere."""
    with lab(images, 10, 5, 6, 11) as room:
        docker("rm", "--force", room.containers.pop())
        answers = room.type(CURL_LOOP)
        assert "kubia-11" not in answers
        assert sum(int(line.split()[0]) for line in answers.splitlines()) == 30
