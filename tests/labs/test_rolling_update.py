"""A rolling update under load: the new pods take over, and no request is lost."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy

import pytest

from tests.labs.kubelet import Pod, Spec, until
from tests.labs.manifests import everything
from tests.labs.rollout import LAG, Load, Service, roll_out

ALL = everything()
WHOAMI = ALL["Deployment whoami-deployment"]


def new_version(spec: Spec) -> Spec:
    """The same pod with the name "new", and kubia with that node: so answers identify it."""
    new = deepcopy(spec)
    if "args" in new["containers"][0]:
        new["containers"][0]["args"] = ["--name=new"]
    return new


@asynccontextmanager
async def deployed(replicas: int, spec: Spec, images: dict[str, str]) -> AsyncIterator[Service]:
    """A deployment's service, with ready pods."""
    service = Service()
    try:
        for _ in range(replicas):
            service.pods.append(await Pod.start(spec, images))
        await until("the pods are ready", lambda: service.settled)
        async with service.serve():
            yield service
    finally:
        for pod in service.pods:
            await pod.remove()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whoami-deployment", "ns1/kubia"])
async def test_no_request_is_lost(name: str, images: dict[str, str]) -> None:
    """Neither with a connection per request, nor with keep-alive."""
    deployment = ALL[f"Deployment {name}"]["spec"]
    spec = deployment["template"]["spec"]
    async with (
        deployed(deployment["replicas"], spec, images) as service,
        Load(service.port).run(one_each=6, kept=6) as load,
    ):
        await until("the old pods answer", lambda: load.answered.total() > 100)
        assert load.answered["new"] == 0
        ends = await roll_out(service, new_version(spec), images)
        reached = load.answered.total()
        before = load.answered["new"]
        await until("only the new pods answer", lambda: load.answered["new"] > before + 100)
        assert load.answered.total() - reached == load.answered["new"] - before
    print(f"\nrolling update of {name}: answered {dict(load.answered)}, lost {load.lost.total()}")
    assert load.lost == {}
    assert [status for status, _ in ends] == [0] * deployment["replicas"]


@pytest.mark.slow
async def test_without_pre_stop_requests_are_lost(images: dict[str, str]) -> None:
    """The purpose of preStop, and proof that the test above can fail: the pod leaves before the nodes know."""
    spec = deepcopy(WHOAMI["spec"]["template"]["spec"])
    del spec["containers"][0]["lifecycle"]
    async with deployed(2, spec, images) as service, Load(service.port).run(one_each=6, kept=0) as load:
        await roll_out(service, new_version(spec), images)
    print(f"\nwithout preStop: answered {load.answered.total()}, lost {load.lost.total()}")
    assert load.lost.total() > 0


@asynccontextmanager
async def watched(port: int) -> AsyncIterator[list[str]]:
    """Lab 5's load: the output of `whoami watch --rate 50`, and its exit status."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "whoami", "watch", "--rate", "50", url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said: list[str] = []
    assert process.stdout
    said.append((await process.stdout.readline()).decode())
    try:
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
        said += [*rest.decode().splitlines(), str(process.returncode)]


@pytest.mark.slow
@pytest.mark.parametrize("waits", ["preStop", "--shutdown-delay", ""])
async def test_watch_counts_what_an_update_loses(waits: str, images: dict[str, str]) -> None:
    """As in lab 5: nothing; without a delay, some requests and an exit status of 1."""
    spec = deepcopy(WHOAMI["spec"]["template"]["spec"])
    container = spec["containers"][0]
    if waits != "preStop":
        del container["lifecycle"]
    if waits == "--shutdown-delay":
        container["args"].append("--shutdown-delay=5s")
    async with deployed(2, spec, images) as service, watched(service.port) as said:
        await roll_out(service, new_version(spec), images)
        await asyncio.sleep(2 * LAG)  # as long as the nodes' rules may be outdated
    print("\n".join(said[-6:]))
    assert said[-1] == ("0" if waits else "1")
    summary = next(line for line in said if " lost (" in line)
    assert (", 0 lost (" in summary) == bool(waits)
