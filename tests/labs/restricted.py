"""The *restricted* Pod Security Standard of Kubernetes, one function per rule.

From the page "Pod Security Standards" of the Kubernetes documentation, including the baseline, for Kubernetes
1.30: later versions allow a little more. Each rule takes a pod's spec and returns whether the pod passes.
"""

from collections.abc import Callable, Iterator
from typing import Any

Spec = dict[str, Any]

SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def containers(spec: Spec) -> list[Spec]:
    """Every container of a pod, of any kind."""
    return [
        container
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(kind, [])
    ]


def contexts(spec: Spec) -> list[Spec]:
    """The security contexts of the pod and of each container."""
    return [holder.get("securityContext", {}) for holder in (spec, *containers(spec))]


def effective(spec: Spec, field: str) -> list[Any]:
    """The effective value for each container: its own, else the pod's."""
    of_pod, *of_containers = contexts(spec)
    return [context.get(field, of_pod.get(field)) for context in of_containers]


def handlers(spec: Spec) -> Iterator[Spec]:
    """Every probe and lifecycle hook."""
    for container in containers(spec):
        yield from (container[probe] for probe in PROBES if probe in container)
        yield from container.get("lifecycle", {}).values()


def _capabilities(spec: Spec, what: str) -> list[set[str]]:
    return [set(context.get("capabilities", {}).get(what, [])) for context in contexts(spec)[1:]]


RULES: dict[str, Callable[[Spec], bool]] = {
    "no host process": lambda spec: (
        not any(context.get("windowsOptions", {}).get("hostProcess") for context in contexts(spec))
    ),
    "no host namespaces": lambda spec: (
        not (spec.get("hostNetwork") or spec.get("hostPID") or spec.get("hostIPC"))
    ),
    "not privileged": lambda spec: not any(context.get("privileged") for context in contexts(spec)),
    "all capabilities dropped": lambda spec: all("ALL" in dropped for dropped in _capabilities(spec, "drop")),
    "no capability but NET_BIND_SERVICE added": lambda spec: all(
        added <= {"NET_BIND_SERVICE"} for added in _capabilities(spec, "add")
    ),
    "only plain volumes": lambda spec: all(
        set(volume) - {"name"} <= VOLUMES for volume in spec.get("volumes", [])
    ),
    "no host port": lambda spec: (
        not any(port.get("hostPort") for container in containers(spec) for port in container.get("ports", []))
    ),
    "no other host probed": lambda spec: (
        not any(
            handler.get(action, {}).get("host")
            for handler in handlers(spec)
            for action in ("httpGet", "tcpSocket")
        )
    ),
    "AppArmor on": lambda spec: all(
        context.get("appArmorProfile", {}).get("type") != "Unconfined" for context in contexts(spec)
    ),
    "SELinux type of a container": lambda spec: all(
        context.get("seLinuxOptions", {}).get("type") in SELINUX_TYPES
        and not context.get("seLinuxOptions", {}).get("user")
        and not context.get("seLinuxOptions", {}).get("role")
        for context in contexts(spec)
    ),
    "/proc as usual": lambda spec: all(
        context.get("procMount", "Default") == "Default" for context in contexts(spec)
    ),
    "seccomp on": lambda spec: all(
        (profile or {}).get("type") in {"RuntimeDefault", "Localhost"}
        for profile in effective(spec, "seccompProfile")
    ),
    "safe sysctls": lambda spec: all(
        sysctl["name"] in SAFE_SYSCTLS for sysctl in spec.get("securityContext", {}).get("sysctls", [])
    ),
    "no privilege escalation": lambda spec: all(
        context.get("allowPrivilegeEscalation") is False for context in contexts(spec)[1:]
    ),
    "must not be root": lambda spec: all(effective(spec, "runAsNonRoot")),
    "user is not root": lambda spec: all(context.get("runAsUser") != 0 for context in contexts(spec)),
}


def broken_rules(spec: Spec) -> set[str]:
    """The names of the rules that a pod violates; none if it passes."""
    return {name for name, passes in RULES.items() if not passes(spec)}
