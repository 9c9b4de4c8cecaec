"""The README's section on images, run as documented."""

import re
import subprocess

import pytest

from tests.images.conftest import ROOT
from tests.images.engine import docker, inspect, run, unique
from tests.server import wait_for

README = (ROOT / "README.md").read_text()
SECTION = README.partition("\n## Images\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
ROWS = [
    [cell.strip(" `") for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| `.*", SECTION, re.MULTILINE)
]


def shell(command: str) -> str:
    """The output of a command run in the README's folder."""
    return run("sh", "-c", f"cd '{ROOT}' && {command}")


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_is_true(prefix: str, row: list[str]) -> None:
    """Sizes, approximately, the user, the port, and each named tool."""
    name, holds, size, user, port = row
    config = inspect(f"{prefix}{name}")["Config"]
    assert config["User"].split(":")[0] == user
    assert list(config.get("ExposedPorts") or []) == ([f"{port}/tcp"] if port else [])
    assert len(ROWS) == 3
    compressed = int(shell(f"docker save {prefix}{name} | gzip | wc -c"))
    assert compressed == pytest.approx(float(size.removesuffix(" MB")) * 1e6, rel=0.15)
    if name == "utils":
        for tool in holds.split(", "):
            docker("run", "--rm", f"{prefix}{name}", "which", tool)


def test_the_commands_to_build_run_and_push(prefix: str, registry: str) -> None:
    """docker build, run, tag, push, images: as documented, except for names, a free port and a registry."""
    own = unique("readme")
    (block,) = (block for block in BLOCKS if block.startswith("docker build "))
    typed = re.sub(r"(?<= )whoami(?= |$)", f"{own}/whoami", block, flags=re.MULTILINE)
    typed = typed.replace(" you/", f" {registry}/{own}/").replace("8080:80", "127.0.0.1::80")
    printed = [shell(command) for command in typed.splitlines()]
    container = printed[1].strip()
    try:
        address = docker("port", container, "80").strip()
        answer = run("curl", "--silent", "--retry", "20", "--retry-all-errors", f"http://{address}")
        assert answer.startswith("Name: iamfoo\n")
        assert "digest: sha256:" in printed[3]
        assert "IMAGE" in printed[4].splitlines()[0]
    finally:
        docker("rm", "--force", container)
        docker("rmi", f"{own}/whoami", f"{registry}/{own}/whoami")


def test_the_restricted_command(prefix: str) -> None:
    """A server still answers with the most restrictive flags."""
    (command,) = (block.strip() for block in BLOCKS if block.startswith("docker run --read-only"))
    name = unique("readme")
    typed = command.replace("docker run", f"docker run --detach --name {name}").replace(
        "8080:80", "127.0.0.1::80"
    )
    shell(typed.removesuffix("whoami") + f"{prefix}whoami")
    try:
        check = ["docker", "exec", name, "whoami", "healthcheck"]
        wait_for(lambda: subprocess.run(check, capture_output=True).returncode == 0)
    finally:
        docker("rm", "--force", name)
