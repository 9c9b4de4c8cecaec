"""The discovery lab's commands: two networks as namespaces, Docker's DNS as the cluster's.

Docker's DNS returns the addresses of all containers with a name, in changing order, like a headless service. It
has no virtual IPs; a balancer of ours replaces kubia-clusterip.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from uuid import uuid4

import pytest

from tests.labs.kubelet import Pod, docker, until
from tests.labs.manifests import everything
from tests.labs.rollout import Service

DOMAIN = "svc.cluster.local"
UTILS = everything()["Deployment ns1/utils"]["spec"]["template"]["spec"]
KUBIA = everything()["Deployment ns1/kubia"]["spec"]["template"]["spec"]
IPV6 = "--sysctl=net.ipv6.conf.all.disable_ipv6=0"  # a link-local address, as in pods


@dataclass
class Cluster:
    """Three kubia pods in ns1, one in ns2, and a service with one address for those in ns1."""

    images: dict[str, str]
    stack: AsyncExitStack
    networks: dict[str, str]
    kubia: dict[str, list[Pod]]
    service: Service

    async def start(self, spec: dict[str, object], namespace: str, *options: str) -> Pod:
        """Starts a pod in a namespace, with a kubelet's resolver settings; both networks reach it."""
        search = [f"--dns-search={domain}" for domain in (f"{namespace}.{DOMAIN}", DOMAIN, DOMAIN[4:])]
        network = f"--network={self.networks[namespace]}"
        pod = await Pod.start(spec, self.images, options=(network, *search, "--dns-option=ndots:5", *options))
        self.stack.push_async_callback(pod.remove)
        for other in self.networks.keys() - {namespace}:
            await docker("network", "connect", self.networks[other], pod.name)
        return pod

    async def utils(self, *options: str) -> Pod:
        """A utils pod in ns1."""
        return await self.start(UTILS, "ns1", f"--add-host=kubia-clusterip:{self.service.host}", *options)


@asynccontextmanager
async def cluster(images: dict[str, str]) -> AsyncIterator[Cluster]:
    """The lab, all ready."""
    async with AsyncExitStack() as stack:
        networks = {name: f"labs-test-{name}-{uuid4().hex[:10]}" for name in ("ns1", "ns2")}
        for network in networks.values():
            await docker("network", "create", network)
            stack.push_async_callback(docker, "network", "rm", network)
        gateway = "{{(index .IPAM.Config 0).Gateway}}"
        service = Service(host=await docker("network", "inspect", "--format", gateway, networks["ns1"]))
        lab = Cluster(images, stack, networks, {"ns1": [], "ns2": []}, service)
        for namespace in ("ns1", "ns1", "ns1", "ns2"):
            names = [f"--network-alias={name}.{namespace}.{DOMAIN}" for name in ("kubia", "kubia-headless")]
            lab.kubia[namespace].append(await lab.start(KUBIA, namespace, *names))
        pods = service.pods = lab.kubia["ns1"]
        await until("kubia is ready", lambda: all(pod.ready for pod in pods))
        await stack.enter_async_context(service.serve())
        yield lab


async def type_in(pod: Pod, command: str) -> str:
    """The output of a command in a pod, like kubectl exec."""
    return await docker("exec", pod.name, *command.split())


async def curls(pod: Pod, target: str, times: int) -> Counter[str]:
    """The lab's loop: how often each pod answered."""
    loop = f"for i in $(seq 1 {times}); do curl -s {target}; done"
    lines = (await docker("exec", pod.name, "bash", "-c", loop)).splitlines()
    assert len(lines) == times
    return Counter(line.split()[2] for line in lines)


@pytest.mark.slow
async def test_names_lead_across_namespaces(images: dict[str, str]) -> None:
    """A short name stays in the namespace; the full one reaches the other; from utils and kubia."""
    async with cluster(images) as lab:
        (there,) = lab.kubia["ns2"]
        here = {pod.name for pod in lab.kubia["ns1"]}
        for client in (await lab.utils(), lab.kubia["ns1"][0]):
            assert (await type_in(client, "curl -s kubia:8080")).split()[2] in here
            for name in ("kubia.ns2", f"kubia.ns2.{DOMAIN}", f"kubia.ns2.{DOMAIN}."):
                assert (await type_in(client, f"curl -s {name}:8080")).split()[2] == there.name
            assert " 1 received" in await type_in(client, f"ping -c 1 {there.address}")


@pytest.mark.slow
async def test_a_headless_name_has_all_addresses(images: dict[str, str]) -> None:
    """host resolves the short name by the search domains, and shows every pod, in changing order."""
    async with cluster(images) as lab:
        utils = await lab.utils()
        addresses = sorted(pod.address for pod in lab.kubia["ns1"])
        full = f"kubia-headless.ns1.{DOMAIN}"
        shown = await type_in(utils, "host -t A kubia-headless")
        assert sorted(shown.splitlines()) == [f"{full} has address {address}" for address in addresses]
        orders = set()
        for _ in range(60):
            orders.add(await type_in(utils, f"dig +short {full}"))
            if len(orders) > 1:
                break
        assert len(orders) > 1
        assert all(sorted(order.splitlines()) == addresses for order in orders)


def nearest(client: Pod, pods: list[Pod]) -> set[str]:
    """The names of the pods whose addresses share the longest prefix with the client's."""

    def distance(pod: Pod) -> int:
        return (int(IPv4Address(pod.address)) ^ int(IPv4Address(client.address))).bit_length()

    least = min(map(distance, pods))
    return {pod.name for pod in pods if distance(pod) == least}


@pytest.mark.slow
async def test_the_client_makes_a_headless_name_sticky(images: dict[str, str]) -> None:
    """If glibc sorts the addresses, curl reaches the nearest pod (or pods); otherwise it spreads.

    glibc prefers the longest prefix in common with its own address (RFC 6724, rule 9), but knows the subnets
    only on a machine with an IPv6 address.
    """
    async with cluster(images) as lab:
        names = {pod.name for pod in lab.kubia["ns1"]}
        sorting, plain = await lab.utils(IPV6), await lab.utils()
        assert "fe80:" in await type_in(sorting, "ip -6 address")
        assert "fe80:" not in await type_in(plain, "ip -6 address")
        sticky = await curls(sorting, "kubia-headless:8080", 30)
        spread = await curls(plain, "kubia-headless:8080", 90)
        balanced = await curls(sorting, f"kubia-clusterip:{lab.service.port}", 90)
        print(f"\nheadless, sorted: {sticky}\nheadless, not sorted: {spread}\none address: {balanced}")
        assert set(sticky) == nearest(sorting, lab.kubia["ns1"]) < names
        assert set(spread) == set(balanced) == names
        left = [pod for pod in lab.kubia["ns1"] if pod.name not in sticky]
        for name in sticky:
            await docker("stop", name)
        assert set(await curls(sorting, "kubia-headless:8080", 30)) == nearest(sorting, left)


@pytest.mark.slow
async def test_each_connection_of_a_service_is_placed_anew(images: dict[str, str]) -> None:
    """One curl that keeps its connection stays with one pod, because of HTTP, not the service."""
    async with cluster(images) as lab:
        url = f"kubia-clusterip:{lab.service.port}"
        utils = await lab.utils()
        kept = await type_in(utils, " ".join(["curl -s", *[url] * 20]))
        assert len({line.split()[2] for line in kept.splitlines()}) == 1
        assert len(await curls(utils, url, 60)) > 1
