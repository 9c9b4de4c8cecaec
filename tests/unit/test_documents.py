"""The documents for developers and operators match the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from podkit.limits import Limits

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
SECURITY = (ROOT / "SECURITY.md").read_text().partition("<!-- bounds: begin -->")[2]
LIMITS = {field.name: getattr(Limits(), field.name) for field in fields(Limits)}


def written(value: float) -> str:
    """A size, time or number in the table's notation."""
    if 0 < value < 1:
        return f"{1000 * value:g} ms"
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size:
            return f"{int(value) // size} {unit}"
    return f"{value:,.0f}"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_0-9]+)`", SECURITY)) & set(LIMITS)))
def test_the_table_of_bounds_has_the_limits_numbers(name: str) -> None:
    """Each row that names a limit has its value."""
    rows = [line for line in SECURITY.splitlines() if f"`{name}`" in line]
    assert any(written(LIMITS[name]) in row for row in rows), (name, written(LIMITS[name]), rows)


def test_the_table_of_bounds_names_limits_that_there_are() -> None:
    """And most of the existing ones."""
    named = set(re.findall(r"`([a-z]+_[a-z_0-9]+)`", SECURITY))
    assert named <= set(LIMITS)
    assert len(named) > 15


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:podkit|whoami|whereami)/[a-z0-9_/.]+", ARCHITECTURE)))
)
def test_the_architecture_names_files_that_there_are(path: str) -> None:
    """A page that names missing files misleads."""
    assert (ROOT / path.rstrip(".")).exists()
