"""A rolling update under load: the new pods take over, and no request is lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy

from tests.labs.kubelet import Pod, Spec, until
from tests.labs.manifests import everything
from tests.labs.rollout import Load, Service, roll_out

DEPLOYMENT = everything()["Deployment whoami-deployment"]


def new_version(spec: Spec) -> Spec:
    """The same pod with another --name, so that answers tell which version gave them."""
    new = deepcopy(spec)
    new["containers"][0]["args"] = ["--name=new"]
    return new


@asynccontextmanager
async def deployed(spec: Spec, images: dict[str, str]) -> AsyncIterator[Service]:
    """The service of a deployment whose pods are ready."""
    service = Service()
    try:
        for _ in range(DEPLOYMENT["spec"]["replicas"]):
            service.pods.append(await Pod.start(spec, images))
        await until("the pods are ready", lambda: service.settled)
        async with service.serve():
            yield service
    finally:
        for pod in service.pods:
            await pod.remove()


async def test_no_request_is_lost(images: dict[str, str]) -> None:
    """Neither of clients with a connection for each request, nor of clients that keep theirs."""
    spec = DEPLOYMENT["spec"]["template"]["spec"]
    async with deployed(spec, images) as service, Load(service.port).run(one_each=6, kept=6) as load:
        await until("the old pods answer", lambda: load.answered["Name: whoami"] > 100)
        ends = await roll_out(service, new_version(spec), images)
        reached = load.answered["Name: new"]
        await until("the new pods answer", lambda: load.answered["Name: new"] > reached + 100)
    print(f"\nrolling update: answered {dict(load.answered)}, lost {load.lost.total()}")
    assert load.lost == {}
    assert load.answered["Name: whoami"] > 100
    assert [status for status, _ in ends] == [0, 0]


async def test_without_pre_stop_requests_are_lost(images: dict[str, str]) -> None:
    """What preStop is for, and that the test above would notice: the pod goes before the nodes know."""
    spec = deepcopy(DEPLOYMENT["spec"]["template"]["spec"])
    del spec["containers"][0]["lifecycle"]
    async with deployed(spec, images) as service, Load(service.port).run(one_each=6, kept=0) as load:
        await roll_out(service, new_version(spec), images)
    print(f"\nwithout preStop: answered {load.answered.total()}, lost {load.lost.total()}")
    assert load.lost.total() > 0
