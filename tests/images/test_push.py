"""`make push` to a real registry, and back."""

import re
import subprocess

import pytest

from podkit import __version__
from tests.images.conftest import ROOT
from tests.images.engine import contained, docker, inspect, run, unique


@pytest.mark.slow
def test_pushed_images_come_back_the_same_and_run(prefix: str, registry: str) -> None:
    """Both tags of all three images are pushed; pulling gives the same digest, and the image answers."""
    target = f"{registry}/{unique('you')}"
    said = run("make", "--directory", str(ROOT), "push", f"PREFIX={prefix}", f"REGISTRY={target}")
    names = [
        f"{target}/{name}:{tag}" for name in ("whoami", "whereami", "utils") for tag in (__version__, "latest")
    ]
    digests = dict(zip(names, re.findall(r"digest: (sha256:[0-9a-f]{64})", said), strict=True))
    docker("rmi", *names)
    try:
        for name in names:
            assert f"Digest: {digests[name]}" in docker("pull", name)
            # digests of other registries with the same image are listed too
            assert f"{name.rpartition(':')[0]}@{digests[name]}" in inspect(name)["RepoDigests"]
        with contained(f"{target}/whoami:{__version__}", "--name", "pulled") as container:
            assert container.get("/").body.startswith(b"Name: pulled\n")
    finally:
        docker("rmi", "--force", *names)


def test_push_asks_for_a_registry() -> None:
    """Without REGISTRY nothing is pushed, and one line says what is missing."""
    done = subprocess.run(["make", "--directory", str(ROOT), "push"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "make push REGISTRY=" in done.stderr
    assert done.stdout.count("\n") <= 2  # make's own lines about the directory
