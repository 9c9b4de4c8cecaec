"""The images, built once for all tests by the command that people type."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.engine import HARDENED, Container, contained, docker, run, unique

ROOT = Path(__file__).parents[2]


def _require_engine() -> None:
    try:
        subprocess.run(["docker", "info"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.fail("Docker is needed: install it, start it, and see that `docker info` works", pytrace=False)


@pytest.fixture(scope="session")
def prefix() -> Iterator[str]:
    """What stands before the names of the images made for these tests."""
    _require_engine()
    prefix = unique("images") + "/"
    try:
        run("make", "--directory", str(ROOT), "image", f"PREFIX={prefix}")
        yield prefix
    finally:
        if names := docker("images", "--format={{.Repository}}:{{.Tag}}", f"{prefix}*").split():
            docker("rmi", "--force", *names)


@pytest.fixture(scope="session")
def whoami_container(prefix: str) -> Iterator[Container]:
    """A whoami with its defaults, as restricted as a pod."""
    with contained(f"{prefix}whoami") as container:
        yield container


@pytest.fixture(scope="session")
def whereami_container(prefix: str) -> Iterator[Container]:
    """A whereami on a node of that name, as restricted as a pod."""
    with contained(f"{prefix}whereami", port=8080, env={"nodename": "node1"}) as container:
        yield container


@pytest.fixture(scope="session")
def utils(prefix: str) -> Iterator[str]:
    """The name of a running utils container, as restricted as a pod."""
    name = unique("utils")
    docker("run", "--detach", "--name", name, *HARDENED, f"{prefix}utils")
    yield name
    docker("rm", "--force", name)
