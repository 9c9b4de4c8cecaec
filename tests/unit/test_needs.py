"""A machine without Docker: users run the tests that they can, CI runs all of them or fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS_AN_ENGINE = "tests/images/test_build.py::test_an_image_has_the_version_and_latest"
REASON = "docker is needed: install Docker, start it, and see that `docker info` works"


@pytest.mark.parametrize(
    ("ci", "status", "told"), [("", 0, f"\n3 skipped: {REASON}\n"), ("true", 1, f"\n{REASON}\n")]
)
def test_a_missing_engine_skips_tests_but_fails_in_ci(ci: str, status: int, told: str) -> None:
    """Either way the output says what to install."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", NEEDS_AN_ENGINE]
    env = {**os.environ, "DOCKER_HOST": "unix:///nowhere", "CI": ci}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status
    assert told in done.stdout
