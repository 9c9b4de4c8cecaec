"""The objects of a cluster that exists on paper: stored, found by labels, and followed by their pods."""

from typing import Any

Object = dict[str, Any]
# API version, resource, namespace ('' without one)
Place = tuple[str, str, str]

HASH = "6c8d7f9b54"  # a ReplicaSet's, in the names of its pods
CREATED = "2026-01-01T00:00:00Z"


class Cluster:
    """What the guide finds in a cluster: a node, two classes, kube-proxy's mode; and what is put in."""

    def __init__(self) -> None:
        self._objects: dict[Place, dict[str, Object]] = {}
        addresses = {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]}
        self.put(("v1", "nodes", ""), {"kind": "Node", "metadata": {"name": "worker1"}, "status": addresses})
        networking, gateway = "networking.k8s.io/v1", "gateway.networking.k8s.io/v1"
        traefik = {"kind": "IngressClass", "metadata": {"name": "traefik"}}
        self.put((networking, "ingressclasses", ""), traefik)
        self.put((gateway, "gatewayclasses", ""), {"kind": "GatewayClass", "metadata": {"name": "nginx"}})
        proxy = {"metadata": {"name": "kube-proxy"}, "data": {"config.conf": "mode: iptables\n"}}
        self.put(("v1", "configmaps", "kube-system"), {"kind": "ConfigMap"} | proxy)

    def get(self, place: Place, name: str) -> Object | None:
        """One object."""
        return self._objects.get(place, {}).get(name)

    def find(self, place: Place, labels: dict[str, str]) -> list[Object]:
        """The objects that carry the labels, of all namespaces where the place names none."""
        return [
            found
            for where, objects in sorted(self._objects.items())
            if where == place or (not place[2] and where[:2] == place[:2])
            for _, found in sorted(objects.items())
            if labels.items() <= found["metadata"].get("labels", {}).items()
        ]

    def put(self, place: Place, given: Object) -> Object:
        """Store an object, new or changed; a deployment is rolled out at once."""
        meta = given["metadata"]
        meta |= {"uid": meta["name"], "resourceVersion": "1", "creationTimestamp": CREATED}
        meta |= {"generation": meta.get("generation", 0) + 1}
        if place[2]:
            meta["namespace"] = place[2]
        given.setdefault("apiVersion", place[0])
        self._objects.setdefault(place, {})[meta["name"]] = given
        if place[1] == "deployments":
            self._roll_out(place[2], given)
        return given

    def delete(self, place: Place, name: str) -> None:
        """Remove an object, and what lives in it or through it."""
        del self._objects[place][name]
        if place[1] == "namespaces":
            self._objects = {where: objects for where, objects in self._objects.items() if where[2] != name}
        if place[1] == "deployments":
            self._remove_pods(place[2], name)

    def _remove_pods(self, namespace: str, deployment: str) -> None:
        pods = self._objects.get(("v1", "pods", namespace), {})
        for name in [name for name in pods if name.startswith(f"{deployment}-{HASH}-")]:
            del pods[name]

    def _roll_out(self, namespace: str, deployment: Object) -> None:
        meta, replicas = deployment["metadata"], deployment["spec"]["replicas"]
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        deployment["status"] = dict.fromkeys(counts, replicas) | {"observedGeneration": meta["generation"]}
        self._remove_pods(namespace, meta["name"])
        template = deployment["spec"]["template"]
        for number in range(replicas):
            name = {"name": f"{meta['name']}-{HASH}-{number:05}", "labels": template["metadata"]["labels"]}
            status = {"phase": "Running", "podIP": f"10.244.2.{number + 4}"}
            pod = {"kind": "Pod", "metadata": name, "spec": template["spec"], "status": status}
            self.put(("v1", "pods", namespace), pod)
