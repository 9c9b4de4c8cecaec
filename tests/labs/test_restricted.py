"""Every pod of the labs meets the restricted Pod Security Standard, and requests no more than it needs."""

from copy import deepcopy
from typing import Any

import pytest

from tests.labs.manifests import everything
from tests.labs.restricted import RULES, Spec, broken_rules, containers

PODS: dict[str, Spec] = {
    name: manifest["spec"]["template"]["spec"]
    for name, manifest in everything().items()
    if manifest["kind"] == "Deployment"
}

CONTAINER = ("containers", 0, "securityContext")
BREAKS: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("no host process", (*CONTAINER, "windowsOptions"), {"hostProcess": True}),
    ("no host namespaces", ("hostNetwork",), True),
    ("no host namespaces", ("hostPID",), True),
    ("no host namespaces", ("hostIPC",), True),
    ("not privileged", (*CONTAINER, "privileged"), True),
    ("all capabilities dropped", (*CONTAINER, "capabilities", "drop"), ["NET_RAW"]),
    ("no capability but NET_BIND_SERVICE added", (*CONTAINER, "capabilities", "add"), ["NET_RAW"]),
    ("only plain volumes", ("volumes",), [{"name": "host", "hostPath": {"path": "/"}}]),
    ("no host port", ("containers", 0, "ports", 0, "hostPort"), 80),
    ("no other host probed", ("containers", 0, "readinessProbe", "httpGet", "host"), "192.0.2.1"),
    ("no other host probed", ("containers", 0, "lifecycle", "preStop"), {"httpGet": {"host": "192.0.2.1"}}),
    ("AppArmor on", (*CONTAINER, "appArmorProfile"), {"type": "Unconfined"}),
    ("SELinux type of a container", (*CONTAINER, "seLinuxOptions"), {"type": "spc_t"}),
    ("SELinux type of a container", ("securityContext", "seLinuxOptions"), {"user": "root"}),
    ("/proc as usual", (*CONTAINER, "procMount"), "Unmasked"),
    ("seccomp on", ("securityContext", "seccompProfile"), None),
    ("seccomp on", (*CONTAINER, "seccompProfile"), {"type": "Unconfined"}),
    ("safe sysctls", ("securityContext", "sysctls", 0, "name"), "net.core.somaxconn"),
    ("no privilege escalation", (*CONTAINER, "allowPrivilegeEscalation"), True),
    ("must not be root", ("securityContext", "runAsNonRoot"), None),
    ("must not be root", (*CONTAINER, "runAsNonRoot"), False),
    ("user is not root", ("securityContext", "runAsUser"), 0),
    ("user is not root", (*CONTAINER, "runAsUser"), 0),
]


@pytest.mark.parametrize("pod", PODS)
def test_pods_pass(pod: str) -> None:
    """A namespace that enforces the standard accepts them."""
    assert broken_rules(PODS[pod]) == set()


@pytest.mark.parametrize(
    ("rule", "path", "value"), BREAKS, ids=[".".join(map(str, path)) for _, path, _ in BREAKS]
)
def test_each_rule_refuses(rule: str, path: tuple[str | int, ...], value: Any) -> None:
    """A pod that violates one rule fails that rule only."""
    spec = deepcopy(PODS["Deployment whoami-deployment"])
    node: Any = spec
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    assert broken_rules(spec) == {rule}


def test_each_rule_is_tried() -> None:
    """Every rule has a violating pod."""
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


@pytest.mark.parametrize("pod", PODS)
def test_pods_ask_for_little(pod: str) -> None:
    """Beyond the standard: a read-only root, no token, requests and limits, and local images."""
    spec = PODS[pod]
    assert spec["automountServiceAccountToken"] is False
    for container in containers(spec):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert container["image"].partition(":")[2] not in ("", "latest")
