"""A simulated cluster: its objects, selected by labels, and their pods and slices.

As on a real one, changes take time: pods start, and new services answer, only while a command waits.
"""

import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

Object = dict[str, Any]
# API version, resource, namespace ('' without one)
Place = tuple[str, str, str]

CREATED = "2026-01-01T00:00:00Z"
REVISION = "deployment.kubernetes.io/revision"
NO_CONTAINERS = "no container runs here"


@dataclass
class Images:
    """Image ids by name, on the node and in registries, and the names under which the node pulled an id."""

    on_node: dict[str, str] = field(default_factory=dict)
    in_registries: dict[str, str] = field(default_factory=dict)
    pulled: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def get(self, name: str) -> bool:
        """Whether a pod with ``imagePullPolicy: IfNotPresent`` gets its image.

        Since Kubernetes 1.35, the kubelet accepts a loaded image only if it never pulled the same id under
        another name.
        """
        known = self.pulled[self.on_node.get(name, "")]
        if name in self.on_node and (not known or name in known):
            return True
        if name not in self.in_registries:
            return False
        self.on_node[name] = self.in_registries[name]
        self.pulled[self.on_node[name]].add(name)
        return True


class Cluster:
    """The guide's cluster: nodes, two classes, kube-proxy's mode, and the applied objects.

    Threads hold its lock while they change or read it, since others should not see half a change.
    """

    def __init__(self, images: Images) -> None:
        self.lock = Lock()
        self._images = images
        self._objects: dict[Place, dict[str, Object]] = {}
        self.changes = 0  # a counter; the resource version of the last change
        self._pods = 0
        self._ports: dict[str, int] = {}  # ports of pods that run as processes
        self._young: set[str] = set()  # services that were just created
        for number in (1, 2):
            status = {"addresses": [{"type": "InternalIP", "address": f"172.18.0.{number + 1}"}]}
            node = {"kind": "Node", "metadata": {"name": f"worker{number}"}, "spec": {}, "status": status}
            self.put(("v1", "nodes", ""), node)
        networking, gateway = "networking.k8s.io/v1", "gateway.networking.k8s.io/v1"
        traefik = {"kind": "IngressClass", "spec": {"controller": "traefik.io/ingress-controller"}}
        self.put((networking, "ingressclasses", ""), traefik | {"metadata": {"name": "traefik"}})
        self.put((gateway, "gatewayclasses", ""), {"kind": "GatewayClass", "metadata": {"name": "nginx"}})
        proxy = {"metadata": {"name": "kube-proxy"}, "data": {"config.conf": "mode: iptables\n"}}
        self.put(("v1", "configmaps", "kube-system"), {"kind": "ConfigMap"} | proxy)
        metrics = {"kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"}}
        self.put(("apiregistration.k8s.io/v1", "apiservices", ""), metrics)

    def get(self, place: Place, name: str) -> Object | None:
        """One object."""
        return self._objects.get(place, {}).get(name)

    def find(self, place: Place, labels: dict[str, str]) -> list[Object]:
        """The objects with all these labels; in all namespaces if none is given."""
        return [
            found
            for where, objects in sorted(self._objects.items())
            if where == place or (not place[2] and where[:2] == place[:2])
            for _, found in sorted(objects.items())
            if labels.items() <= found["metadata"].get("labels", {}).items()
        ]

    def put(self, place: Place, given: Object) -> Object:
        """Stores a new or changed object."""
        meta = given["metadata"]
        if place[1] == "services" and not self.get(place, meta["name"]):
            self._young.add(meta["name"])
        self.changes += 1
        meta |= {"uid": meta["name"], "resourceVersion": str(self.changes), "creationTimestamp": CREATED}
        meta |= {"generation": meta.get("generation", 0) + 1}
        if place[2]:
            meta["namespace"] = place[2]
        given.setdefault("apiVersion", place[0])
        _fill_in(given)
        self._objects.setdefault(place, {})[meta["name"]] = given
        if place[1] == "deployments":
            self._roll_out(place[2], given)
        self._write_slices()
        return given

    def delete(self, place: Place, name: str) -> None:
        """Removes an object and its dependents."""
        if place[1] == "deployments":
            for resource in ("v1 pods", "apps/v1 replicasets"):
                for owned in self._owned(resource, place[2], name):
                    del self._objects[(*resource.split(), place[2])][owned["metadata"]["name"]]  # type: ignore[index]
        del self._objects[place][name]
        if place[1] == "namespaces":
            self._objects = {where: objects for where, objects in self._objects.items() if where[2] != name}
        self._write_slices()

    def settle(self) -> None:
        """Lets time pass: pods start if their image is available, old ones leave, new services answer."""
        self._young.clear()
        for deployment in self.find(("apps/v1", "deployments", ""), {}):
            namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
            pods = self._owned("v1 pods", namespace, name)
            for pod in pods:
                _set_ready(pod, self._images.get(pod["spec"]["containers"][0]["image"]))
            new = [pod for pod in pods if _hash(pod["metadata"]) == _hash(deployment["spec"]["template"])]
            done = all(map(_is_ready, new))
            for pod in (pod for pod in pods if done and pod not in new):
                del self._objects["v1", "pods", namespace][pod["metadata"]["name"]]
            self._count(namespace, deployment)
            if not done:
                stuck = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
                deployment["status"]["conditions"] = [stuck]
        self._write_slices()

    def run_at(self, pod: Object, address: str, port: int) -> None:
        """Backs a pod by a process of this machine."""
        pod["status"]["podIP"] = address
        self._ports[pod["metadata"]["name"]] = port
        self._write_slices()

    def fail(self, pod: str, fails: bool) -> None:
        """Makes a pod fail or pass its readiness probe."""
        (found,) = (one for one in self.find(("v1", "pods", ""), {}) if one["metadata"]["name"] == pod)
        _set_ready(found, not fails)
        self._write_slices()

    def why_not(self, namespace: str, pod: str, command: list[str]) -> str:
        """Why a command for a pod fails; it always does, because no container runs."""
        found = self.get(("v1", "pods", namespace), pod)
        if found and not _is_ready(found):
            return f'container not found ("{found["spec"]["containers"][0]["name"]}")'
        words = re.findall(r"[\w-]+", " ".join(command))
        young = sorted(self._young & set(words))
        return f"nobody answers at {young[0]} yet" if young else NO_CONTAINERS

    def _owned(self, resource: str, namespace: str, deployment: str) -> list[Object]:
        version, kind = resource.split()
        objects = self._objects.get((version, kind, namespace), {}).values()
        return [one for one in objects if one["metadata"].get("annotations", {}).get("of") == deployment]

    def _roll_out(self, namespace: str, deployment: Object) -> None:
        meta, template = deployment["metadata"], deployment["spec"]["template"]
        sets = self._owned("apps/v1 replicasets", namespace, meta["name"])
        revisions = [int(one["metadata"]["annotations"][REVISION]) for one in sets]
        name = f"{meta['name']}-{_hash(template)}"
        known = next((one for one in sets if one["metadata"]["name"] == name), None)
        if not known or int(known["metadata"]["annotations"][REVISION]) < max(revisions):
            number = str(max(revisions, default=0) + 1)
            of = {"of": meta["name"], REVISION: number}
            owner = {"kind": "Deployment", "name": meta["name"], "uid": meta["name"], "controller": True}
            labels = template["metadata"]["labels"] | {"pod-template-hash": _hash(template)}
            own = {"name": name, "annotations": of, "labels": labels, "ownerReferences": [owner]}
            copy = json.loads(json.dumps(template))
            copy["metadata"]["labels"] = labels
            spec = {"replicas": deployment["spec"]["replicas"], "template": copy}
            self.put(
                ("apps/v1", "replicasets", namespace), {"kind": "ReplicaSet", "metadata": own, "spec": spec}
            )
            meta["annotations"] = meta.get("annotations", {}) | {REVISION: number}
        pods = self._owned("v1 pods", namespace, meta["name"])
        new = [pod for pod in pods if _hash(pod["metadata"]) == _hash(template)]
        for pod in new[deployment["spec"]["replicas"] :]:
            del self._objects["v1", "pods", namespace][pod["metadata"]["name"]]
        for _ in range(deployment["spec"]["replicas"] - len(new)):
            self._pods += 1
            labels = template["metadata"]["labels"] | {"pod-template-hash": _hash(template)}
            own = {"name": f"{name}-{self._pods:05}", "labels": labels, "annotations": {"of": meta["name"]}}
            status = {"phase": "Running", "podIP": f"10.244.{self._pods % 2 + 1}.{self._pods + 2}"}
            pod = {"kind": "Pod", "metadata": own, "spec": template["spec"], "status": status}
            _set_ready(pod, False)
            self.put(("v1", "pods", namespace), pod)
        self._count(namespace, deployment)

    def _count(self, namespace: str, deployment: Object) -> None:
        pods = self._owned("v1 pods", namespace, deployment["metadata"]["name"])
        ready = sum(map(_is_ready, pods))
        updated = sum(_hash(pod["metadata"]) == _hash(deployment["spec"]["template"]) for pod in pods)
        counts = {"replicas": len(pods), "updatedReplicas": updated}
        counts |= {"readyReplicas": ready, "availableReplicas": ready}
        counts["observedGeneration"] = deployment["metadata"]["generation"]
        deployment["status"] = counts

    def _write_slices(self) -> None:
        """Writes each service's slices: all its pods, including those that are not ready."""
        self.changes += 1
        for place in [place for place in self._objects if place[1] == "endpointslices"]:
            del self._objects[place]
        for service in self.find(("v1", "services", ""), {}):
            namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
            endpoints: dict[int, list[Object]] = {}
            for pod in self.find(("v1", "pods", namespace), service["spec"]["selector"]):
                one: Object = {"addresses": [pod["status"]["podIP"]], "conditions": {"ready": _is_ready(pod)}}
                port = self._ports.get(pod["metadata"]["name"]) or _target(service)
                endpoints.setdefault(port, []).append(one)
            labels = {"kubernetes.io/service-name": name}
            place = ("discovery.k8s.io/v1", "endpointslices", namespace)
            for number, port in enumerate(endpoints or [_target(service)]):
                meta = {"name": f"{name}-{number}v6mx", "labels": labels, "namespace": namespace}
                one = {"kind": "EndpointSlice", "apiVersion": place[0], "addressType": "IPv4"}
                one |= {
                    "metadata": meta | {"creationTimestamp": CREATED, "resourceVersion": str(self.changes)},
                    "endpoints": endpoints.get(port, []),
                }
                one |= {"ports": [{"name": service["spec"]["ports"][0].get("name"), "port": port}]}
                self._objects.setdefault(place, {})[meta["name"]] = one


def _fill_in(given: Object) -> None:
    """Fills in the API's defaults, as far as they are used here."""
    spec = given.get("spec", {})
    if given["kind"] == "Service":
        for port in spec["ports"]:
            port.setdefault("protocol", "TCP")
    if given["kind"] == "HTTPRoute":
        for rule in spec["rules"]:
            rule.setdefault("matches", [{"path": {"type": "PathPrefix", "value": "/"}}])
    if given["kind"] == "Gateway":
        for listener in spec["listeners"]:
            for reference in listener.get("tls", {}).get("certificateRefs", []):
                reference |= {"group": "", "kind": "Secret"}


def _target(service: Object) -> int:
    (port,) = service["spec"]["ports"]
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    return 8080 if service["spec"]["selector"].get("run") == "kubia" else 80


def _hash(holder: Object) -> str:
    """A pod template's hash, from a pod's label."""
    labels = holder.get("labels", {})
    if "pod-template-hash" in labels:
        return str(labels["pod-template-hash"])
    digits = hashlib.sha256(json.dumps(holder, sort_keys=True).encode()).hexdigest()
    return "7" + digits[:9]


def _is_ready(pod: Object) -> bool:
    return bool(pod["status"]["conditions"][0]["status"] == "True")


def _set_ready(pod: Object, ready: bool) -> None:
    pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]
