"""The images, built once for all tests with the documented command."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.engine import HARDENED, Container, contained, docker, run, unique
from tests.needs import require
from tests.server import wait_for

ROOT = Path(__file__).parents[2]
REGISTRY = """\
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: 127.0.0.1:0}
"""


@pytest.fixture(scope="session")
def prefix() -> Iterator[str]:
    """The prefix of the names of these tests' images."""
    require("docker")
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


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host and port of a registry on this machine: Debian's program, else a container."""
    require("registry")
    if shutil.which("docker-registry") is None:
        name = unique("registry")
        docker("run", "--detach", "--name", name, "--publish=127.0.0.1::5000", "registry:2")
        yield docker("port", name, "5000").strip()
        docker("rm", "--force", "--volumes", name)
        return
    folder: Path = tmp_path_factory.mktemp("registry")
    (folder / "config.yml").write_text(REGISTRY % (folder / "data"))
    log = folder / "log"
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            wait_for(lambda: re.search(r"listening on 127\.0\.0\.1:\d+", log.read_text()))
            yield re.findall(r"listening on (127\.0\.0\.1:\d+)", log.read_text())[0]
        finally:
            process.terminate()
