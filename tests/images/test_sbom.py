"""`make sbom`: the contents of the images in CycloneDX format."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.images.conftest import ROOT
from tests.images.engine import run


@pytest.fixture(scope="module")
def inventories(prefix: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The parsed inventory of each server image."""
    folder = tmp_path_factory.mktemp("sbom")
    said = run("make", "--directory", str(ROOT), "sbom", f"PREFIX={prefix}", f"SBOM={folder}")
    paths = [Path(line) for line in said.splitlines() if line.endswith(".json")]
    return {path.name.partition(".")[0]: json.loads(path.read_text()) for path in paths}


def packages(inventory: dict[str, Any], kind: str) -> dict[str, str]:
    """The versions of an inventory's packages of one kind, by name."""
    purls = [component.get("purl", "") for component in inventory["components"]]
    found = (re.match(rf"pkg:{kind}/(?:debian/)?([^@]+)@([^?]+)(?!.*arch=source)", purl) for purl in purls)
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("name", ["whoami", "whereami"])
def test_every_pinned_wheel_is_listed(inventories: dict[str, dict[str, Any]], name: str) -> None:
    """The lock file's wheels and versions, except those that the image does not contain."""
    inventory = inventories[name]
    assert inventory["bomFormat"] == "CycloneDX"
    locked = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements/server.txt").read_text(), re.MULTILINE))
    for absent in ("pycparser", "typing-extensions"):  # for compilers, and for older Pythons
        del locked[absent]
    assert packages(inventory, "pypi") == locked


@pytest.mark.parametrize(
    ("name", "holds", "holds_not"),
    [
        ("whoami", {"libc6", "libpython3.13-stdlib", "libssl3t64"}, {"curl", "bash", "dpkg", "apt"}),
        (
            "whereami",
            {"libc6", "libpython3.13-stdlib", "curl", "iputils-ping", "ca-certificates"},
            {"bash", "dpkg"},
        ),
    ],
)
def test_debian_packages_are_listed(
    inventories: dict[str, dict[str, Any]], name: str, holds: set[str], holds_not: set[str]
) -> None:
    """Those with files in the image, and no other."""
    debian = packages(inventories[name], "deb")
    assert holds <= set(debian)
    assert not holds_not & set(debian)
