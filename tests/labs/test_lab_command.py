"""`make lab` and `make lab-clean`, with tools that only record their calls."""

import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.labs.manifests import ROOT, render

TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
[ "$*" != "config current-context" ] || { [ -n "$CONTEXT" ] && echo "$CONTEXT"; }
"""
VERSION = version("whoami-whereami")
IMAGES = f"whoami:{VERSION} whereami:{VERSION} utils:{VERSION}"
ROLLOUT = "kubectl rollout status deployment {}-l app.kubernetes.io/part-of=labs --timeout=3m"
BUILT = ["build whoami", "build whereami", "build utils"]
APPLIED = ["kubectl apply -k build/k8s", *(ROLLOUT.format(space) for space in ("", "-n ns1 ", "-n ns2 "))]


class Workplace:
    """A copy of the project, and a PATH on which every tool is a recorder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "k8s", root / "k8s")
        (root / "scripts").mkdir()
        for path in ("scripts/lab.sh", "Makefile", "pyproject.toml"):
            shutil.copy(ROOT / path, root / path)
        (root / "bin").mkdir()
        for name in ("docker", "kubectl", "kind", "k3d", "minikube"):
            tool = root / "bin" / name
            tool.write_text(TOOL)
            tool.chmod(0o755)

    def make(self, *words: str, context: str = "") -> subprocess.CompletedProcess[str]:
        """Runs make with these arguments and this current context of kubectl."""
        env = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.root / "calls"),
            "CONTEXT": context,
        }
        command = ["make", "--no-print-directory", *words]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True)

    def calls(self) -> list[str]:
        """The recorded calls in order, without the query for the context, and builds by target."""
        calls = (self.root / "calls").read_text().splitlines()
        builds = [re.sub(r"^docker build --target (\S+) .*", r"build \1", call) for call in calls]
        return [call for call in builds if call != "kubectl config current-context"]

    def images(self) -> set[str]:
        """The images that the labs would use."""
        return {
            container["image"]
            for one in render(self.root / "build" / "k8s")
            if one["kind"] == "Deployment"
            for container in one["spec"]["template"]["spec"]["containers"]
        }


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """A new one."""
    return Workplace(tmp_path)


@pytest.mark.parametrize(
    ("context", "load"),
    [
        ("kind-kind", [f"kind load docker-image --name kind {IMAGES}"]),
        ("kind-lab-2", [f"kind load docker-image --name lab-2 {IMAGES}"]),
        ("k3d-labs", [f"k3d image import --cluster labs {IMAGES}"]),
        ("minikube", [f"minikube image load {IMAGES}"]),
        ("rancher-desktop", []),
    ],
)
def test_a_local_cluster_gets_the_images(workplace: Workplace, context: str, load: list[str]) -> None:
    """They are built and loaded into its nodes, then the labs are applied and awaited."""
    run = workplace.make("lab", context=context)
    assert run.returncode == 0, run.stderr
    assert workplace.calls() == [*BUILT, *load, *APPLIED]
    assert workplace.images() == set(IMAGES.split())
    assert "kubectl port-forward" in run.stdout


@pytest.mark.parametrize(("tag", "expected"), [((), VERSION), (("TAG=2.0",), "2.0")], ids=["version", "TAG="])
def test_a_registry_is_named(workplace: Workplace, tag: tuple[str, ...], expected: str) -> None:
    """With REGISTRY= nothing is built or loaded: the cluster pulls the pushed images."""
    run = workplace.make("lab", "REGISTRY=registry.example:5000/you", *tag, context="arn:cloud/cluster")
    assert run.returncode == 0, run.stderr
    assert workplace.calls() == APPLIED
    assert workplace.images() == {
        f"registry.example:5000/you/{name}:{expected}" for name in ("whoami", "whereami", "utils")
    }


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ("", "make lab: kubectl has no current cluster; create one (kind create cluster)"),
        (
            "gke_somewhere",
            "make lab: gke_somewhere is not a kind, k3d, minikube or desktop cluster: "
            "push the images, then make lab REGISTRY=...",
        ),
    ],
    ids=["no context", "a cluster elsewhere"],
)
def test_what_cannot_work_is_said(workplace: Workplace, context: str, says: str) -> None:
    """In one line, before anything is built."""
    run = workplace.make("lab", context=context)
    assert run.returncode == 2
    assert run.stderr.splitlines()[:-1] == [says]  # the last line is make's own
    assert workplace.calls() == []


def test_kubectl_is_needed(workplace: Workplace) -> None:
    """Without it, the message is not that there is no cluster."""
    (workplace.root / "bin" / "kubectl").unlink()
    for name in ("sh", "dirname"):
        (workplace.root / "bin" / name).symlink_to(str(shutil.which(name)))
    command, env = ["sh", "scripts/lab.sh", "check"], {"PATH": str(workplace.root / "bin")}
    run = subprocess.run(command, cwd=workplace.root, env=env, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == "make lab: kubectl is needed: https://kubernetes.io/docs/tasks/tools/\n"


def test_manifests_suit_a_cluster(workplace: Workplace) -> None:
    """Plain files in the guide's folders: only images, classes and host names differ."""
    words = (
        "REGISTRY=registry.example/you",
        "TAG=2.0",
        "CLASS=nginx",
        "GATEWAY_CLASS=traefik",
        "HOST=anna.example",
    )
    run = workplace.make("manifests", *words)
    assert run.returncode == 0, run.stderr
    written = workplace.root / "build"
    changed = set()
    for path in (path for path in (ROOT / "k8s").rglob("*") if path.is_file()):
        lines, copy = path.read_text().splitlines(), (written / path.relative_to(ROOT)).read_text().splitlines()
        changed |= {line.partition("#")[0].strip() for line in set(copy) - set(lines)}
    assert changed == {
        *(f"image: registry.example/you/{name}:2.0" for name in ("whoami", "whereami", "utils")),
        "ingressClassName: nginx",
        "gatewayClassName: traefik",
        *(f"- host: {name}anna.example" for name in ("", "whoami.", "whoareyou.")),
    }
    rules = [
        rule for one in render(written / "k8s") if one["kind"] == "Ingress" for rule in one["spec"]["rules"]
    ]
    assert all(rule["host"] for rule in rules)  # two trainees with one controller do not collide


def test_a_failed_step_ends_it(workplace: Workplace) -> None:
    """If loading fails, nothing is awaited."""
    (workplace.root / "bin" / "kind").write_text("#!/bin/sh\nexit 3\n")
    assert workplace.make("lab", context="kind-kind").returncode == 2
    assert workplace.calls() == BUILT


def test_clean(workplace: Workplace) -> None:
    """Everything that was applied is deleted, even if some of it is already gone."""
    assert workplace.make("lab-clean").returncode == 0
    assert workplace.calls() == ["kubectl delete -k k8s --ignore-not-found"]
