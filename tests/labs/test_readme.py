"""The README's section on Kubernetes, as far as possible without a cluster."""

import re
import subprocess

import pytest

from tests.labs.manifests import K8S, KUBECTL, ROOT, kubectl, parse, render

SECTION = re.search(r"^## On Kubernetes\n(.*?)^## ", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
assert SECTION is not None
COMMANDS = [line.partition(" #")[0].strip() for line in re.findall(r"^    (.+)$", SECTION[1], re.MULTILINE)]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make")])
def test_make_commands(command: str) -> None:
    """make knows the target, and help lists it."""
    target = command.split()[1]
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"make {target} " in shown


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("kubectl")])
def test_kubectl_commands(command: str) -> None:
    """A current kubectl knows the verbs and flags; the folders and the service exist."""
    for part in command.split(" | "):
        words = part.split()
        if words[0] != "kubectl":
            continue
        usage = kubectl(words[1], "--help")
        for flag in (word for word in words if re.fullmatch(r"--?[a-z-]+", word)):
            assert re.search(rf"^ +(-\w, )?{flag}[ ,=]", usage, re.MULTILINE), flag
        for folder in (word for word in words if word.startswith("k8s")):
            assert (ROOT / folder).is_dir()
        for service in re.findall(r"service/(\S+)", part):
            assert service in {one["metadata"]["name"] for one in render(K8S)}


def test_the_ingress_class_is_changed_by_one_command() -> None:
    """The command without the last pipe changes every Ingress's class, and nothing else."""
    (command,) = [command for command in COMMANDS if "sed" in command]
    typed = command.rpartition(" | ")[0].replace("kubectl", str(KUBECTL), 1)
    run = subprocess.run(typed, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    expected = render(K8S)
    for one in expected:
        if one["kind"] == "Ingress":
            one["spec"]["ingressClassName"] = "nginx"
    assert parse(run.stdout) == expected


def test_there_are_commands() -> None:
    """The tests above are not empty."""
    assert len(COMMANDS) == 11
