"""Properties of the images: size, settings, files."""

import gzip
import io
import re
import stat
import subprocess
import tarfile
from typing import Any

import pytest

from podkit import __version__
from tests.images.engine import USER, docker, inspect

MEGABYTE = 1_000_000
SERVERS = ["whoami", "whereami"]
IMAGES = [*SERVERS, "utils"]
LABELS = ["title", "description", "source", "version", "revision", "licenses"]


def files(image: str) -> dict[str, tarfile.TarInfo]:
    """All files of an image, by their path."""
    container = docker("create", image).strip()
    try:
        archive = subprocess.run(["docker", "export", container], check=True, capture_output=True).stdout
    finally:
        docker("rm", container)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: member for member in tar.getmembers()}


@pytest.mark.parametrize(("name", "limit"), [("whoami", 20 * MEGABYTE), ("whereami", 35 * MEGABYTE)])
def test_an_image_is_small(prefix: str, name: str, limit: int) -> None:
    """The output of `docker save | gzip` stays under the limit, in bytes."""
    saved = subprocess.run(["docker", "save", f"{prefix}{name}"], check=True, capture_output=True).stdout
    assert len(gzip.compress(saved, 6)) < limit


@pytest.mark.parametrize(
    ("name", "command", "ports"),
    [
        ("whoami", {"Entrypoint": ["/usr/bin/whoami"], "Cmd": None}, {"80/tcp": {}}),
        ("whereami", {"Entrypoint": ["/usr/bin/whereami"], "Cmd": None}, {"8080/tcp": {}}),
    ],
)
def test_a_server_image_starts_the_program_itself(
    prefix: str, name: str, command: dict[str, Any], ports: dict[str, Any]
) -> None:
    """Exec form, so that flags can be appended and signals arrive; with a port and a health check."""
    config = inspect(f"{prefix}{name}")["Config"]
    assert {key: config[key] for key in command} == command
    assert config["ExposedPorts"] == ports
    assert config["Healthcheck"]["Test"] == ["CMD", f"/usr/bin/{name}", "healthcheck"]
    assert config.get("StopSignal") is None
    assert config.get("Volumes") is None
    # whoami shows its environment to clients: only the search path, which engines set themselves
    assert all(entry.startswith("PATH=") for entry in config["Env"] or [])


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_says_what_it_is(prefix: str, name: str) -> None:
    """A numeric non-root user, and the OCI labels."""
    config = inspect(f"{prefix}{name}")["Config"]
    assert config["User"] == USER
    labels = {label: config["Labels"][f"org.opencontainers.image.{label}"] for label in LABELS}
    assert labels["title"] == name
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"])
    assert all(labels.values())


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_the_version_and_latest(prefix: str, name: str) -> None:
    """Both tags name the same image."""
    assert inspect(f"{prefix}{name}:{__version__}")["Id"] == inspect(f"{prefix}{name}:latest")["Id"]


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("whoami", {"python3", "whoami", "whereami"}),
        ("whereami", {"python3", "whoami", "whereami", "curl", "ping"}),
    ],
)
def test_a_server_image_holds_no_other_program(prefix: str, name: str, programs: set[str]) -> None:
    """No shell, package manager or pip; nothing that its user may write or use to become root."""
    found = files(f"{prefix}{name}")
    folders = ("bin/", "sbin/", "usr/bin/", "usr/sbin/", "usr/local/bin/", "usr/local/sbin/", "opt/")
    assert {path for path in found if path.startswith(folders)} == {
        f"usr/bin/{program}" for program in programs
    }
    assert not [
        path for path in found if re.search(r"(^|/)(pip|ensurepip|setuptools|site-packages)(/|$)", path)
    ]
    assert not [path for path in found if path.endswith(".py")]
    ours = {
        path: member for path, member in found.items() if not path.startswith(("dev", "proc", "sys", ".docker"))
    }
    assert not [path for path, member in ours.items() if member.mode & (stat.S_ISUID | stat.S_ISGID)]
    assert not [path for path, member in ours.items() if member.mode & stat.S_IWOTH and not member.issym()]
    assert {(member.uid, member.gid) for member in ours.values()} == {(0, 0)}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_image_names_its_packages_and_licences(prefix: str, name: str) -> None:
    """Scanners find records of Debian's packages and of the wheels; licences come with the files."""
    found = files(f"{prefix}{name}")
    assert {
        "etc/os-release",
        "var/lib/dpkg/status.d/libc6",
        "var/lib/dpkg/status.d/libpython3.13-stdlib",
    } <= set(found)
    metadata = [path for path in found if path.endswith(".dist-info/METADATA")]
    assert {"aiohttp", "uvloop", "cryptography"} <= {
        path.rpartition("/")[0].split("/")[-1].split("-")[0] for path in metadata
    }
    assert [path for path in found if re.search(r"aiohttp-.*\.dist-info/licenses/", path)]
