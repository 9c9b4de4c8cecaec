"""The Makefile on machines that lack something."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD = 'case "$*" in --version) echo Python 3.10.13;; *version_info\\ *) exit 1;; *) echo 3.10;; esac'
BARE = 'case "$*" in "-m venv"*) exit 1;; *%d*) echo 3.13;; esac'


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (OLD, "Python 3.11 or later is needed; {} is Python 3.10.13. Name another: make PYTHON=python3.12 ..."),
        (BARE, "Python's venv module is needed (on Debian and Ubuntu: apt install python3-venv)"),
        (None, "Python 3.11 or later is needed; {} is missing. Name another: make PYTHON=python3.12 ..."),
    ],
    ids=["an old Python", "no venv", "no Python"],
)
def test_what_is_missing_is_told_in_a_line(tmp_path: Path, script: str | None, told: str) -> None:
    """Before anything is built; make adds its own line."""
    python = tmp_path / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    command = ["make", "--silent", "run", f"PYTHON={python}", f"SERVER={tmp_path}/.server"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    first, make, *more = done.stderr.splitlines()
    assert first == told.format(python)
    assert re.match(r"make(\[\d+\])?: \*\*\*", make)
    assert not more
