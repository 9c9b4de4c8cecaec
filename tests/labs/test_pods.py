"""The labs' pods on a Docker engine, run exactly as specified."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path

import pytest

from tests.labs.kubelet import Pod, Spec, docker, run_arguments, until
from tests.labs.manifests import everything

SPECS: dict[str, Spec] = {
    name.partition(" ")[2]: manifest["spec"]["template"]["spec"]
    for name, manifest in everything().items()
    if manifest["kind"] == "Deployment"
}
SERVERS = ["whoami-deployment", "whoareyou-deployment", "ns1/kubia"]


@asynccontextmanager
async def running(name: str, images: dict[str, str]) -> AsyncIterator[Pod]:
    """A pod of a deployment, ready if it has a readiness probe."""
    pod = await Pod.start(SPECS[name], images)
    try:
        if "readinessProbe" in pod.container:
            await until("the pod is ready", lambda: pod.ready)
        yield pod
    finally:
        await pod.remove()


def process_status(pid: str) -> dict[str, list[str]]:
    """The kernel's status of a process, by line."""
    lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return {words[0]: words[1:] for words in lines}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
async def test_servers_start_and_end(name: str, images: dict[str, str]) -> None:
    """Ready under the restricted security context, and stopped within the grace period with status 0."""
    async with running(name, images) as pod:
        assert await pod.probe("livenessProbe")
        status, seconds = await pod.terminate()
        assert status == 0
        assert seconds < pod.spec["terminationGracePeriodSeconds"]


async def test_utils_ends_when_told(images: dict[str, str]) -> None:
    """A bare sleep as PID 1 would ignore SIGTERM, and every clean-up would take 30 seconds."""
    async with running("utils", images) as pod:
        status, _ = await pod.terminate()
        assert status == 0  # it was not killed


@pytest.mark.slow
async def test_answers(images: dict[str, str]) -> None:
    """whoami and whoareyou show their names; kubia the node from the Downward API."""
    async with running("whoami-deployment", images) as pod:
        assert (await pod.ask("/"))[1].startswith(f"Name: whoami\nHostname: {pod.name}\n")
    async with running("whoareyou-deployment", images) as pod:
        assert (await pod.ask("/whoareyou"))[1].startswith(f"Name: whoareyou\nHostname: {pod.name}\n")
    async with running("ns1/kubia", images) as pod:
        assert await pod.ask("/") == (200, f"You've hit {pod.name} on this node: node1\n")


@pytest.mark.parametrize("name", ["whoami-deployment", "ns1/kubia", "utils"])
async def test_processes_have_no_rights(name: str, images: dict[str, str]) -> None:
    """PID 1 runs as the manifest's and the image's user, with no capabilities and no way to gain any."""
    async with running(name, images) as pod:
        user = pod.spec["securityContext"]["runAsUser"]
        image = images[pod.container["image"].partition(":")[0]]
        assert await docker("image", "inspect", "--format", "{{.Config.User}}", image) == f"{user}:{user}"
        pid = await docker("inspect", "--format", "{{.State.Pid}}", pod.name)
        status = process_status(pid)
        assert set(status["Uid:"]) == set(status["Gid:"]) == {str(user)}
        assert {int(status[f"Cap{kind}:"][0], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
        assert status["NoNewPrivs:"] == ["1"]
        assert status["Seccomp:"] == ["2"]


@pytest.mark.slow
async def test_health_drains_a_pod_and_does_not_restart_it(images: dict[str, str]) -> None:
    """POST 500 to /health: not ready, but alive; POST 200: ready again. Liveness never fails."""
    async with running("whoami-deployment", images) as pod:
        begun = time.monotonic()
        assert (await pod.ask("/health", "POST", "500"))[0] == 200
        await until("the pod is drained", lambda: not pod.ready)
        drained = time.monotonic() - begun
        assert not await pod.probe("readinessProbe")
        assert await pod.probe("livenessProbe")
        assert (await pod.ask("/"))[0] == 200
        assert (await pod.ask("/health", "POST", "200"))[0] == 200
        await until("the pod is back", lambda: pod.ready)
        assert pod.restarts == 0
        print(f"\nPOST 500 /health: not ready after {drained:.1f} s, liveness ok, 0 restarts; POST 200: ready")


@pytest.mark.slow
async def test_a_hanging_server_fails_its_probes(images: dict[str, str]) -> None:
    """Liveness too, so that Kubernetes restarts it."""
    async with running("whoami-deployment", images) as pod:
        await docker("pause", pod.name)
        assert not await pod.probe("livenessProbe")
        assert not await pod.probe("readinessProbe")
        await docker("unpause", pod.name)


@pytest.mark.slow
async def test_a_request_in_flight_at_the_end_is_answered(images: dict[str, str]) -> None:
    """Even one that still waits when preStop ends and SIGTERM arrives."""
    async with running("whoami-deployment", images) as pod:
        answer = asyncio.create_task(pod.ask("/?wait=8s"))
        await asyncio.sleep(0)
        status, seconds = await pod.terminate()
        assert (await answer)[0] == 200
        assert status == 0
        assert 8 <= seconds < pod.spec["terminationGracePeriodSeconds"]


async def test_kubia_logs_trainees_not_probes(images: dict[str, str]) -> None:
    """One line for each curl; readiness probes, which are frequent, leave none."""
    async with running("ns1/kubia", images) as pod:
        before = (await docker("logs", pod.name)).count("Received request")
        for _ in range(5):
            assert await pod.probe("readinessProbe")
        await pod.ask("/")

        assert (await docker("logs", pod.name)).count("Received request") == before + 1


def test_an_unknown_field_is_not_passed_over() -> None:
    """An untranslated field fails the tests above."""
    spec = deepcopy(SPECS["whoami-deployment"])
    spec["containers"][0]["workingDir"] = "/srv"
    with pytest.raises(AssertionError, match=r"not translated for Docker.*workingDir"):
        run_arguments(spec, {"whoami": "whoami"}, "node1", "whoami-1")
