"""A stand-in for the Kubernetes API server, so that a real kubectl can run the guide without a cluster.

It answers as the API does (https://kubernetes.io/docs/reference/using-api/api-concepts/) for the kinds below.
It does not check fields, does not read protobuf, and refuses what needs a container with NO_CONTAINERS.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.labs.cluster import Cluster, Object, Place

NO_CONTAINERS = "no container runs here"

# by API version: resource, kind, short name; without a namespace those in CLUSTER_WIDE
KINDS = {
    "v1": "namespaces Namespace ns, nodes Node no, pods Pod po, services Service svc, secrets Secret -, "
    "configmaps ConfigMap cm, events Event ev",
    "apps/v1": "deployments Deployment deploy, replicasets ReplicaSet rs",
    "networking.k8s.io/v1": "ingresses Ingress ing, ingressclasses IngressClass -",
    "discovery.k8s.io/v1": "endpointslices EndpointSlice -",
    "gateway.networking.k8s.io/v1": "gatewayclasses GatewayClass gc, gateways Gateway gtw, "
    "httproutes HTTPRoute -",
    "authorization.k8s.io/v1": "selfsubjectaccessreviews SelfSubjectAccessReview -",
}
CLUSTER_WIDE = {"namespaces", "nodes", "ingressclasses", "gatewayclasses", "selfsubjectaccessreviews"}
IN_ALL = {"pods", "services", "deployments", "replicasets"}  # kubectl get all
_PATH = re.compile(
    r"/apis?/(?P<version>v1|[a-z0-9.]+/v1)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)


def _resources(version: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    listed: list[Object] = []
    for entry in KINDS[version].split(", "):
        name, kind, short = entry.split()
        one = {"name": name, "singularName": "", "kind": kind, "namespaced": name not in CLUSTER_WIDE}
        listed.append(one | {"verbs": verbs, "shortNames": [short], "categories": ["all"] * (name in IN_ALL)})
        if name == "deployments":
            scale = {"name": "deployments/scale", "group": "autoscaling", "version": "v1", "kind": "Scale"}
            listed.append(scale | {"singularName": "", "namespaced": True, "verbs": verbs})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}


def _discovery() -> dict[str, Object]:
    versions = [{"groupVersion": name, "version": "v1"} for name in KINDS if name != "v1"]
    groups = [
        {"name": version["groupVersion"].split("/")[0], "versions": [version], "preferredVersion": version}
        for version in versions
    ]
    return {
        "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.1"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **{f"/{'api' if name == 'v1' else 'apis'}/{name}": _resources(name) for name in KINDS},
    }


DISCOVERY = _discovery()


def _status(code: int, message: str = "") -> tuple[int, Object]:
    reason = {200: "", 400: "BadRequest", 404: "NotFound", 409: "AlreadyExists"}[code]
    outcome = {"status": "Success" if code == 200 else "Failure", "reason": reason, "message": message}
    return code, {"kind": "Status", "apiVersion": "v1", "code": code} | outcome


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items() if value is not None}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        match = _PATH.fullmatch(url.path)
        if url.path in DISCOVERY:
            code, answer = 200, DISCOVERY[url.path]
        elif match and match["version"] in KINDS:
            place = (match["version"], match["resource"], match["namespace"] or "")
            given = json.loads(body) if body.startswith(b"{") else {}
            query = dict(parse_qsl(url.query))
            if match["name"]:
                code, answer = self._one(place, match["name"], match["sub"] or "", "dryRun" in query, given)
            else:
                code, answer = self._all(place, query, given)
        else:
            code, answer = _status(404, f"the server does not know {url.path}")
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _all(self, place: Place, query: dict[str, str], given: Object) -> tuple[int, Object]:
        version, resource, namespace = place
        if "watch" in query:
            return _status(400, "nothing is watched here")
        kind = re.search(rf"\b{resource} (\w+)", KINDS[version])
        assert kind, resource
        if resource == "selfsubjectaccessreviews":
            return 201, {"kind": kind[1], "apiVersion": version, "status": {"allowed": True}}
        if self.command == "GET":
            labels = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
            name = query.get("fieldSelector", "").removeprefix("metadata.name=")
            items = [one for one in self.cluster.find(place, labels) if name in ("", one["metadata"]["name"])]
            return 200, {"kind": f"{kind[1]}List", "apiVersion": version, "metadata": {}, "items": items}
        if namespace not in ("", "default") and not self.cluster.get(("v1", "namespaces", ""), namespace):
            return _status(404, f'namespaces "{namespace}" not found')
        if self.cluster.get(place, given["metadata"]["name"]):
            return _status(409, f'{resource} "{given["metadata"]["name"]}" already exists')
        return 201, given if "dryRun" in query else self.cluster.put(place, given)

    def _one(self, place: Place, name: str, sub: str, dry: bool, given: Object) -> tuple[int, Object]:
        found = self.cluster.get(place, name)
        if not found:
            return _status(404, f'{place[1]} "{name}" not found')
        if sub in ("exec", "portforward", "log"):
            return _status(400, NO_CONTAINERS)
        if sub == "scale":
            if given:
                self.cluster.put(place, _merged(found, {"spec": {"replicas": given["spec"]["replicas"]}}))
            scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": found["metadata"]}
            return 200, scale | {"spec": {"replicas": found["spec"]["replicas"]}}
        if self.command == "DELETE":
            self.cluster.delete(place, name)
            return _status(200)
        if self.command == "PATCH" and not dry:
            return 200, self.cluster.put(place, _merged(found, given))
        return 200, found

    do_GET = do_POST = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: kubectl tells what matters."""


@contextmanager
def empty_cluster(folder: Path) -> Iterator[Path]:
    """A cluster without the labs; the file for KUBECONFIG that leads to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": Cluster()}))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "paper", "cluster": {"server": address}}],
        "contexts": [{"name": "paper", "context": {"cluster": "paper", "user": ""}}],
        "current-context": "paper",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
