"""The recorded answers of the original, replayed against the container through its published port."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.contract.test_whoami_http1 import RECORDED, Seen, Servers, replay, settings
from tests.images.engine import Container, contained, docker, inspect, network

# The engine adds these to what a container's environment was asked to be,
ADDED_LINES = re.compile(rb"^(HOME|HOSTNAME|PATH)=.*\n", re.MULTILINE)
# and hands the rest on in any order; this is the recorded one
RECORDED_ORDER = (b"POD_NAMESPACE", b"A", b"EMPTY", b"EQ")
ADDED_FIELDS = re.compile(rb'"(HOME|HOSTNAME|PATH)":"[^"]*",?')


@dataclass(frozen=True)
class SeenInContainer(Seen):
    """As Seen, without the environment that the engine adds."""

    def as_recorded(self, body: bytes) -> bytes:
        """The body as it would read in the recorded pod."""
        body = ADDED_FIELDS.sub(b"", ADDED_LINES.sub(b"", body)).replace(b",}}\n", b"}}\n")
        head, end, environment = body.rpartition(b"\r\n\r\n")
        if environment.startswith(RECORDED_ORDER):
            lines = environment.splitlines(keepends=True)
            lines.sort(key=lambda line: RECORDED_ORDER.index(line.partition(b"=")[0]))
            body = head + end + b"".join(lines)
        return super().as_recorded(body)


@pytest.fixture(scope="module")
def containers(prefix: str) -> Iterator[Servers]:
    """Servers as containers."""
    with ExitStack() as stack:
        yield Servers(stack, partial(contained, f"{prefix}whoami"))


@pytest.fixture(scope="module")
def seen(prefix: str) -> dict[str, Seen]:
    """Each container's view, from the engine and iproute2, not from the server."""

    class Known(dict[str, Seen]):
        def __missing__(self, name: str) -> Seen:
            show = ["--network", f"container:{name}", f"{prefix}utils", "ip", "-json", "address"]
            interfaces = json.loads(docker("run", "--rm", *show))
            addresses = [info["local"] for interface in interfaces for info in interface["addr_info"]]
            # the engine's proxy connects from the gateway, from its own port
            gateway = re.escape(network(name)["Gateway"]).encode()
            self[name] = seen = SeenInContainer(
                inspect(name)["Config"]["Hostname"], addresses, gateway + rb":\d+"
            )
            return seen

    return Known()


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["name"])
def test_container_answers_as_the_original(
    case: dict[str, Any], containers: Servers, seen: dict[str, Seen]
) -> None:
    """Every recorded answer of the original is the same as the container's."""
    container = containers[settings(case)]
    assert isinstance(container, Container)
    replay(case, container, lambda client: seen[container.name])
