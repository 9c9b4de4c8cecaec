"""The manifests under k8s/ as objects: read from the files, or rendered by kubectl."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")

Manifest = dict[str, Any]


def kubectl(*arguments: str | Path) -> str:
    """The output of the pinned kubectl; these commands need no cluster."""
    run = subprocess.run([KUBECTL, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def parse(text: str) -> list[Manifest]:
    """The objects of a stream of YAML documents."""
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def read(path: Path) -> list[Manifest]:
    """The objects of one file."""
    return parse(path.read_text())


def render(folder: Path) -> list[Manifest]:
    """The objects that `kubectl apply -k folder` applies."""
    return parse(kubectl("kustomize", folder))


def files() -> list[Path]:
    """Every manifest, without the kustomizations, which have their own name."""
    return sorted(K8S.rglob("*.yaml"))


def kustomizations() -> list[Path]:
    """Every folder that `kubectl apply -k` takes."""
    return sorted(path.parent for path in K8S.rglob("Kustomization"))


def key(manifest: Manifest) -> str:
    """Kind, namespace (if given) and name: ``Service ns1/kubia``."""
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']}".replace(" /", " ")


def everything() -> dict[str, Manifest]:
    """What `kubectl apply -k k8s` applies, by key."""
    return {key(manifest): manifest for manifest in render(K8S)}


def show(path: Path) -> str:
    """A path as the id of a test."""
    return str(path.relative_to(ROOT))
