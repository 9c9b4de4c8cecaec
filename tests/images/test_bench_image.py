"""`make bench-image`: startup figures."""

import re

import pytest

from tests.images.conftest import ROOT
from tests.images.engine import docker, run


@pytest.mark.slow
def test_figures_are_printed_and_nothing_is_left(prefix: str) -> None:
    """For each server: docker run and process start to the first answer, and memory; no container remains."""
    before = containers(prefix)
    said = run("make", "--directory", str(ROOT), "bench-image", f"PREFIX={prefix}", env={"ROUNDS": "1"})
    rows = re.findall(r"^(\w+) +(\d+) ms +(\d+) ms +([\d.]+) MB$", said, re.MULTILINE)
    assert [name for name, *_ in rows] == ["whoami", "whereami"]
    for _, from_run, from_start, memory in rows:
        assert int(from_run) > int(from_start) > 0
        assert 10 < float(memory) < 100
    assert containers(prefix) == before


def containers(prefix: str) -> set[str]:
    """The containers of the images with this prefix. Others may run the same images under other names."""
    lines = docker("ps", "--all", "--format", "{{.Image}} {{.ID}}").splitlines()
    return {line for line in lines if line.startswith(prefix)}
