"""A container engine's command line, and containers used like any other server."""

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.server import Server

# Like the labs' pods: the restricted Pod Security Standard
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
USER = "65532:65532"


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def docker(*arguments: str) -> str:
    """The standard output of a docker command that must succeed."""
    return run("docker", *arguments)


def inspect(name: str) -> dict[str, Any]:
    """The engine's description of a container or image."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", name))
    return found[0]


def network(name: str) -> dict[str, Any]:
    """A container's settings in its only network."""
    (found,) = inspect(name)["NetworkSettings"]["Networks"].values()
    place: dict[str, Any] = found
    return place


def unique(kind: str) -> str:
    """A unique name."""
    return f"{kind}-test-{uuid.uuid4().hex[:10]}"


class Container(Server):
    """A server in a container, reached through its published port; a signal to it reaches the program."""

    def __init__(self, image: str, arguments: Sequence[str], options: Sequence[str], port: int) -> None:
        self.name = unique("container")
        command = ["docker", "run", "--name", self.name, f"--publish=127.0.0.1::{port}", *options, image]
        super().__init__([*command, *arguments], os.environ)
        self.port = int(docker("port", self.name, str(port)).splitlines()[0].rpartition(":")[2])

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a program in the container."""
        return subprocess.run(["docker", "exec", self.name, *command], capture_output=True, text=True)

    def state(self) -> dict[str, Any]:
        """The engine's view of the container's process."""
        state: dict[str, Any] = inspect(self.name)["State"]
        return state


@contextlib.contextmanager
def contained(
    image: str,
    *arguments: str,
    port: int = 80,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = HARDENED,
) -> Iterator[Container]:
    """A listening container, stopped like by a terminal or engine, then checked and removed."""
    variables = [f"--env={name}={value}" for name, value in (env or {}).items()]
    container = Container(image, arguments, [*options, *variables], port)
    try:
        yield container
        container.stop()
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container.name], capture_output=True)
        container.process.wait()
