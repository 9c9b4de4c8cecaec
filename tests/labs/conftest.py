"""The images that the labs run, built once for all tests."""

import subprocess

import pytest

from tests.labs.manifests import ROOT


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The tag under which each image of the manifests was built."""
    tags = {name: f"labs-test-{name}" for name in ("whoami", "whereami", "utils")}
    for target, tag in tags.items():
        command = ["docker", "build", "--quiet", "--target", target, "--tag", tag, str(ROOT)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    return tags
