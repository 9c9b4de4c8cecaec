"""Writes the contents of each image as CycloneDX: `image_sbom.py FOLDER IMAGE...` makes FOLDER/<name>.cdx.json.

Two tools, because an image has two kinds of packages and no tool on PyPI knows both: debsbom (by Debian and
Siemens people) reads Debian's package records, cyclonedx-bom (of the CycloneDX project) the wheels' metadata;
debsbom then merges both. Both read the image's own files, not the lists that it was built from.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def run(*command: str | Path) -> str:
    """A command's output; CalledProcessError, after printing the command's output, if it fails."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def extract(image: str, root: Path) -> None:
    """Extracts the image's files."""
    container = run("docker", "create", image)
    try:
        archive = root.with_suffix(".tar")
        run("docker", "export", "--output", archive, container)
        run("tar", "--extract", "--file", archive, "--directory", root, "usr", "var")
    finally:
        run("docker", "rm", container)


def describe(image: str, out: Path) -> None:
    """Writes one image's inventory."""
    name, _, version = image.rpartition("/")[2].partition(":")
    architecture = run("docker", "inspect", "--format", "{{.Architecture}}", image)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        root = place / "root"
        root.mkdir()
        extract(image, root)
        records = sorted((root / "var/lib/dpkg/status.d").iterdir())
        (root / "var/lib/dpkg/status").write_text("\n".join(record.read_text() for record in records))
        debian = (f"--distro-arch={architecture}", "--root", root, "--out", place / "debian")
        run(BIN / "debsbom", "generate", "--sbom-type=cdx", *debian)
        # an interpreter that sees the image's wheels, but not ours
        (wheels,) = root.glob("usr/local/lib/python3*/dist-packages")
        python = place / "python"
        python.write_text(f"#!/bin/sh\nPYTHONPATH='{wheels}' exec {sys.executable} \"$@\"\n")
        python.chmod(0o755)
        programs = ("--pyproject", PYPROJECT, "--output-file", place / "wheels.cdx.json")
        run(BIN / "cyclonedx-py", "environment", "-S", *programs, python)
        about = (f"--distro-name={name}", f"--distro-version={version}", "--out", out)
        both = (place / "debian.cdx.json", place / "wheels.cdx.json")
        run(BIN / "debsbom", "merge", "--sbom-type=cdx", *about, *both)


def main(arguments: list[str]) -> int:
    """Prints the written files; returns 1 if an image or a tool is missing."""
    folder, *images = arguments
    Path(folder).mkdir(parents=True, exist_ok=True)
    for image in images:
        out = Path(folder) / f"{image.rpartition('/')[2].partition(':')[0]}.cdx.json"
        try:
            describe(image, out)
        except (OSError, subprocess.CalledProcessError) as problem:
            print(f"{image}: {problem} (make image builds it)", file=sys.stderr)
            return 1
        print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
