"""A stand-in for the Kubernetes API server, so that a real kubectl can run the guide without a cluster.

It knows the kinds below, stores what it is given, answers as the API does
(https://kubernetes.io/docs/reference/using-api/api-concepts/), and gives every deployment its pods at once.
What needs a running container (exec, port-forward) it refuses with NO_CONTAINERS.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

NO_CONTAINERS = "no container runs here"

Object = dict[str, Any]

# group and version; name, kind, namespaced, short names
KINDS: dict[str, list[tuple[str, str, bool, list[str]]]] = {
    "v1": [
        ("namespaces", "Namespace", False, ["ns"]),
        ("nodes", "Node", False, ["no"]),
        ("pods", "Pod", True, ["po"]),
        ("services", "Service", True, ["svc"]),
        ("secrets", "Secret", True, []),
        ("configmaps", "ConfigMap", True, ["cm"]),
        ("events", "Event", True, ["ev"]),
    ],
    "apps/v1": [
        ("deployments", "Deployment", True, ["deploy"]),
        ("replicasets", "ReplicaSet", True, ["rs"]),
    ],
    "networking.k8s.io/v1": [
        ("ingresses", "Ingress", True, ["ing"]),
        ("ingressclasses", "IngressClass", False, []),
    ],
    "discovery.k8s.io/v1": [("endpointslices", "EndpointSlice", True, [])],
    "gateway.networking.k8s.io/v1": [
        ("gatewayclasses", "GatewayClass", False, ["gc"]),
        ("gateways", "Gateway", True, ["gtw"]),
        ("httproutes", "HTTPRoute", True, []),
    ],
    "authorization.k8s.io/v1": [("selfsubjectaccessreviews", "SelfSubjectAccessReview", False, [])],
}
_PATH = re.compile(
    r"/(?:api|apis)/(?P<version>v1|[a-z0-9.]+/v1)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[a-z]))?/(?P<kind>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)


def _resources(version: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    listed: list[Object] = [
        {"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": verbs}
        | {"shortNames": short, "categories": ["all"] if name in ("pods", "services", "deployments") else []}
        for name, kind, namespaced, short in KINDS[version]
    ]
    if version == "apps/v1":
        scale = {"name": "deployments/scale", "group": "autoscaling", "version": "v1", "kind": "Scale"}
        listed.append(scale | {"namespaced": True, "verbs": verbs, "singularName": ""})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}


def _groups() -> Object:
    groups = []
    for name in KINDS:
        if name != "v1":
            version = {"groupVersion": name, "version": "v1"}
            groups.append({"name": name.split("/")[0], "versions": [version], "preferredVersion": version})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _status(code: int, message: str, reason: str = "") -> tuple[int, Object]:
    status = "Success" if code < 400 else "Failure"
    return code, {"kind": "Status", "apiVersion": "v1", "code": code, "status": status} | {
        "message": message,
        "reason": reason or ("NotFound" if code == 404 else "BadRequest"),
    }


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items() if value is not None}


class Cluster:
    """The objects, by API version, kind, namespace ('' without one) and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str, str], Object] = {}
        node = {"type": "InternalIP", "address": "172.18.0.2"}
        self.objects["v1", "nodes", "", "worker1"] = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "worker1"},
            "status": {"addresses": [node]},
        }
        proxy = {"data": {"config.conf": "mode: iptables\n"}}
        proxy |= {"metadata": {"name": "kube-proxy", "namespace": "kube-system"}}
        self.objects["v1", "configmaps", "kube-system", "kube-proxy"] = proxy | {
            "apiVersion": "v1",
            "kind": "ConfigMap",
        }

    def listed(self, version: str, kind: str, namespace: str, labels: dict[str, str]) -> list[Object]:
        """The objects of a kind, in all namespaces where none is given, that carry the labels."""
        return [
            found
            for (v, k, n, _), found in sorted(self.objects.items())
            if (v, k) == (version, kind) and (not namespace or n == namespace)
            if labels.items() <= found["metadata"].get("labels", {}).items()
        ]

    def put(self, version: str, kind: str, namespace: str, given: Object) -> Object:
        """Store an object; a deployment's pods come and go with it."""
        meta = given["metadata"]
        old = meta.get("generation", 0)
        meta |= {"uid": meta["name"], "resourceVersion": "1", "generation": old + 1}
        meta["creationTimestamp"] = "2026-01-01T00:00:00Z"
        if namespace:
            meta["namespace"] = namespace
        self.objects[version, kind, namespace, meta["name"]] = given
        if kind == "deployments":
            self._roll_out(namespace, given)
        return given

    def delete(self, version: str, kind: str, namespace: str, name: str) -> None:
        """Remove an object, and what lives in it or through it."""
        del self.objects[version, kind, namespace, name]
        for key in list(self.objects):
            if (kind == "namespaces" and key[2] == name) or (
                kind == "deployments" and key[1:3] == ("pods", namespace) and key[3].startswith(f"{name}-")
            ):
                del self.objects[key]

    def _roll_out(self, namespace: str, deployment: Object) -> None:
        replicas = deployment["spec"]["replicas"]
        name = deployment["metadata"]["name"]
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        generation = {"observedGeneration": deployment["metadata"]["generation"]}
        deployment["status"] = generation | dict.fromkeys(counts, replicas)
        for key in [k for k in self.objects if k[1:3] == ("pods", namespace) and k[3].startswith(f"{name}-")]:
            del self.objects[key]
        template = deployment["spec"]["template"]
        for number in range(replicas):
            labels = {"labels": template["metadata"]["labels"]}
            pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]} | {
                "metadata": {"name": f"{name}-6c8d7f9b54-{number:05}", "namespace": namespace} | labels,
                "status": {"phase": "Running", "podIP": f"10.244.2.{number + 4}"},
            }
            self.objects["v1", "pods", namespace, pod["metadata"]["name"]] = pod


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def _answer(self, code: int, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        discovery: dict[str, Object] = {
            "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.1"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": _groups(),
        }
        discovery |= {f"/{'api' if v == 'v1' else 'apis'}/{v}": _resources(v) for v in KINDS}
        if url.path in discovery:
            return self._answer(200, discovery[url.path])
        match = _PATH.fullmatch(url.path)
        if not match or match["version"] not in KINDS:
            return self._answer(*_status(404, f"the server does not know {url.path}"))
        place = (match["version"], match["kind"], match["namespace"] or "")
        given = json.loads(body) if body.startswith(b"{") else {}  # an access review comes as protobuf
        return self._answer(*self._object(place, match["name"] or "", match["sub"] or "", query, given))

    def _object(
        self, place: tuple[str, str, str], name: str, sub: str, query: dict[str, str], given: Object
    ) -> tuple[int, Object]:
        objects, kind = self.cluster.objects, place[1]
        dry = "dryRun" in query
        if "watch" in query or "sendInitialEvents" in query:
            return _status(400, "nothing is watched here")
        if kind == "selfsubjectaccessreviews":
            review = {"kind": "SelfSubjectAccessReview", "apiVersion": place[0]}
            return 201, review | {"status": {"allowed": True}}
        if not name and self.command == "GET":
            labels = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
            field = query.get("fieldSelector", "").removeprefix("metadata.name=")
            items = [o for o in self.cluster.listed(*place, labels) if field in ("", o["metadata"]["name"])]
            kinds = {entry[0]: entry[1] for entry in KINDS[place[0]]}
            return 200, {"kind": f"{kinds[kind]}List", "apiVersion": place[0], "metadata": {}, "items": items}
        if self.command == "POST" and not name:
            if place[2] not in ("", "default") and ("v1", "namespaces", "", place[2]) not in objects:
                return _status(404, f'namespaces "{place[2]}" not found')
            if (*place, given["metadata"]["name"]) in objects:
                return _status(409, f'"{given["metadata"]["name"]}" already exists', "AlreadyExists")
            return 201, given if dry else self.cluster.put(*place, given)
        if (*place, name) not in objects:
            return _status(404, f'{kind} "{name}" not found')
        found = objects[*place, name]
        if sub in ("exec", "portforward", "log"):
            return _status(400, NO_CONTAINERS)
        if sub == "scale":
            return 200, self._scale(place, found, given)
        if self.command == "DELETE":
            if not dry:
                self.cluster.delete(*place, name)
            return _status(200, "")
        if self.command in ("PATCH", "PUT") and not dry:
            return 200, self.cluster.put(*place, _merged(found, given) if self.command == "PATCH" else given)
        return 200, found

    def _scale(self, place: tuple[str, str, str], found: Object, given: Object) -> Object:
        if given:
            found["spec"]["replicas"] = given["spec"]["replicas"]
            self.cluster.put(*place, found)
        spec = {"replicas": found["spec"]["replicas"]}
        meta = {key: found["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec}

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: kubectl tells what matters."""


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """A cluster without objects; the file for KUBECONFIG that leads to it."""
    handler = type("Handler", (_Handler,), {"cluster": Cluster()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "labs", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "contexts": [{"name": "labs", "context": {"cluster": "labs", "user": ""}}],
        "current-context": "labs",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
