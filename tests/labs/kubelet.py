"""Pods on the Docker engine, run like by a kubelet: security context, probes, shutdown."""

import asyncio
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.server import PATIENCE

Spec = dict[str, Any]


async def docker(*arguments: str) -> str:
    """The output of a docker command."""
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"docker {' '.join(arguments)}: {err.decode()}"
    return out.decode().strip()


def run_arguments(pod: Spec, images: dict[str, str], node: str, name: str) -> list[str]:
    """The arguments of `docker run` for a pod's spec.

    An unknown field is an error, because it would not be tested.
    """
    spec = deepcopy(pod)
    (container,) = spec.pop("containers")
    context = spec.pop("securityContext")
    own = container.pop("securityContext")
    for known in ("topologySpreadConstraints", "terminationGracePeriodSeconds"):  # see below
        spec.pop(known, None)
    for known in ("name", "imagePullPolicy", "ports", "lifecycle", "startupProbe", "readinessProbe"):
        container.pop(known, None)
    container.pop("livenessProbe", None)
    assert spec.pop("automountServiceAccountToken") is False  # nor has Docker one to mount
    assert context.pop("runAsNonRoot") is True
    assert context["runAsUser"] != 0
    assert context.pop("seccompProfile") == {"type": "RuntimeDefault"}  # Docker's default too
    assert own.pop("allowPrivilegeEscalation") is False
    assert own.pop("readOnlyRootFilesystem") is True
    arguments = ["--read-only", "--security-opt=no-new-privileges"]
    arguments.append(f"--user={context.pop('runAsUser')}:{context.pop('runAsGroup')}")
    arguments += [f"--cap-drop={name}" for name in own.pop("capabilities").pop("drop")]
    arguments += [f"--sysctl={one['name']}={one['value']}" for one in context.pop("sysctls")]
    limits = container.pop("resources")["limits"]
    arguments += [f"--cpus={limits['cpu']}", f"--memory={limits['memory'].replace('Mi', 'm')}"]
    told = {"spec.nodeName": node, "metadata.name": name, "metadata.namespace": "default"}
    for variable in container.pop("env", []):
        value = variable.get("value") or told[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        arguments.append(f"--env={variable['name']}={value}")
    directories = {one["name"] for one in spec.pop("volumes", []) if "emptyDir" in one}
    for mount in container.pop("volumeMounts", []):
        assert mount["name"] in directories
        arguments.append(f"--tmpfs={mount['mountPath']}")
    image = images[container.pop("image").partition(":")[0]]
    tail = [image, *container.pop("args", [])]
    left = {**spec, **container, **context, **own}
    assert not left, f"not translated for Docker: {left}"
    return [*arguments, *tail]


@dataclass
class Pod:
    """A started pod; `watch` keeps `ready` and `restarts` current."""

    name: str
    spec: Spec
    address: str
    ready: bool = False
    terminating: bool = False
    restarts: int = 0  # how often a kubelet would have restarted it; here it keeps running
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def start(
        cls, spec: Spec, images: dict[str, str], *, node: str = "node1", options: tuple[str, ...] = ()
    ) -> "Pod":
        """A running pod, watched by its probes; with more options of docker run."""
        name = f"labs-test-{uuid4().hex[:10]}"
        base = ["run", "--detach", f"--name={name}", f"--hostname={name}", *options]
        await docker(*base, *run_arguments(spec, images, node, name))
        shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        addresses = (await docker("inspect", "--format", shown, name)).split()
        if not addresses:
            said = await docker("logs", name)
            await docker("rm", "--force", name)
            raise AssertionError(f"the pod ended at once: {said}")
        pod = cls(name, spec, addresses[0])
        pod._tasks.append(asyncio.create_task(pod._watch()))
        return pod

    @property
    def container(self) -> Spec:
        """The spec of its one container."""
        container: Spec = self.spec["containers"][0]
        return container

    @property
    def port(self) -> int:
        """The port named http."""
        (port,) = (one["containerPort"] for one in self.container["ports"] if one["name"] == "http")
        return int(port)

    async def ask(self, path: str, method: str = "GET", body: str = "") -> tuple[int, str]:
        """Status and body of the answer to a request to the pod's own address."""
        reader, writer = await asyncio.open_connection(self.address, self.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = (await reader.read()).decode()
        writer.close()
        return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]

    async def probe(self, kind: str) -> bool:
        """Runs a probe as specified."""
        probe = self.container[kind]
        try:
            async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
                if "httpGet" in probe:
                    assert probe["httpGet"]["port"] == "http"
                    status, _ = await self.ask(probe["httpGet"]["path"])
                    return 200 <= status < 400
                assert probe["tcpSocket"] == {"port": "http"}
                _, writer = await asyncio.open_connection(self.address, self.port)
                writer.close()
        except (OSError, IndexError):  # TimeoutError is an OSError; an answer without a status is an IndexError
            return False
        return True

    async def _watch(self) -> None:
        if "startupProbe" not in self.container:
            return
        startup = self.container["startupProbe"]
        for _ in range(startup["failureThreshold"]):
            if await self.probe("startupProbe"):
                break
            await asyncio.sleep(startup["periodSeconds"])
        self._tasks.append(asyncio.create_task(self._repeat("readinessProbe")))
        self._tasks.append(asyncio.create_task(self._repeat("livenessProbe")))

    async def _repeat(self, kind: str) -> None:
        probe = self.container[kind]
        failures = 0
        while True:
            failures = 0 if await self.probe(kind) else failures + 1
            failed = failures >= probe.get("failureThreshold", 3)
            if kind == "livenessProbe":
                self.restarts += failed
            elif failed or not failures:
                self.ready = not failed and not self.terminating
            await asyncio.sleep(probe["periodSeconds"])

    async def terminate(self) -> tuple[int, float]:
        """Ends it like Kubernetes: out of the services, preStop, SIGTERM; returns exit status and seconds."""
        begun = time.monotonic()
        self.terminating, self.ready = True, False
        for task in self._tasks:
            task.cancel()
        hook = self.container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
        await asyncio.sleep(hook["sleep"]["seconds"])
        left = self.spec.get("terminationGracePeriodSeconds", 30) - (time.monotonic() - begun)
        await docker("stop", f"--time={max(1, int(left))}", self.name)
        status = int(await docker("inspect", "--format", "{{.State.ExitCode}}", self.name))
        return status, time.monotonic() - begun

    async def remove(self) -> None:
        """Removes the container."""
        for task in self._tasks:
            task.cancel()
        await docker("rm", "--force", "--volumes", self.name)


async def until(what: str, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Waits for a condition of watched pods."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience} s: {what}"
        await asyncio.sleep(0.05)
