"""A stand-in for the Kubernetes API server, so that a real kubectl can run the guide without a cluster.

It answers like the API (https://kubernetes.io/docs/reference/using-api/api-concepts/) for the kinds below. It
does not validate fields or read protobuf, and refuses what needs a container (see Cluster.why_not).
"""

import json
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.labs.cluster import Cluster, Object, Place

# by API version: resource, kind, short name; without a namespace those in CLUSTER_WIDE
KINDS = {
    "v1": "namespaces Namespace ns, nodes Node no, pods Pod po, services Service svc, secrets Secret -, "
    "configmaps ConfigMap cm, events Event ev",
    "apps/v1": "deployments Deployment deploy, replicasets ReplicaSet rs",
    "networking.k8s.io/v1": "ingresses Ingress ing, ingressclasses IngressClass -",
    "discovery.k8s.io/v1": "endpointslices EndpointSlice -",
    "gateway.networking.k8s.io/v1": "gatewayclasses GatewayClass gc, gateways Gateway gtw, "
    "httproutes HTTPRoute -, grpcroutes GRPCRoute -, tlsroutes TLSRoute -, "
    "backendtlspolicies BackendTLSPolicy -",
    "gateway.networking.k8s.io/v1beta1": "referencegrants ReferenceGrant -",
    "traefik.io/v1alpha1": "ingressroutes IngressRoute -, ingressroutetcps IngressRouteTCP -, "
    "ingressrouteudps IngressRouteUDP -, middlewares Middleware -, middlewaretcps MiddlewareTCP -, "
    "serverstransports ServersTransport -, serverstransporttcps ServersTransportTCP -, "
    "tlsoptions TLSOption -, tlsstores TLSStore -, traefikservices TraefikService -",
    "autoscaling/v2": "horizontalpodautoscalers HorizontalPodAutoscaler hpa",
    "policy/v1": "poddisruptionbudgets PodDisruptionBudget pdb",
    "apiregistration.k8s.io/v1": "apiservices APIService -",
    "authorization.k8s.io/v1": "selfsubjectaccessreviews SelfSubjectAccessReview -",
}
CLUSTER_WIDE = {
    "namespaces",
    "nodes",
    "ingressclasses",
    "gatewayclasses",
    "apiservices",
    "selfsubjectaccessreviews",
}
IN_ALL = {"pods", "services", "deployments", "replicasets"}  # kubectl get all
_PATH = re.compile(
    r"/apis?/(?P<version>v1|[a-z0-9.]+/v[0-9a-z]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
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
    groups: dict[str, list[Object]] = {}
    for name in KINDS:
        group, _, version = name.rpartition("/")
        groups.setdefault(group, []).append({"groupVersion": name, "version": version})
    del groups[""]
    listed = [
        {"name": name, "versions": versions, "preferredVersion": versions[0]}
        for name, versions in groups.items()
    ]
    return {
        "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.1"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed},
        **{f"/{'api' if name == 'v1' else 'apis'}/{name}": _resources(name) for name in KINDS},
    }


DISCOVERY = _discovery()


def _status(code: int, message: str = "") -> tuple[int, Object]:
    reason = {200: "", 400: "BadRequest", 404: "NotFound", 409: "AlreadyExists"}[code]
    outcome = {"status": "Success" if code == 200 else "Failure", "reason": reason, "message": message}
    return code, {"kind": "Status", "apiVersion": "v1", "code": code} | outcome


def _merged(old: Any, new: Any, by_name: bool) -> Any:
    """Applies a merge patch; a strategic one also merges lists by their elements' names."""
    if (
        by_name
        and isinstance(old, list)
        and isinstance(new, list)
        and all("name" in one for one in [*old, *new])
    ):
        found = {one["name"]: one for one in old}
        changed = {one["name"]: _merged(found.get(one["name"]), one, by_name) for one in new}
        return list((found | changed).values())
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    result = {key: value for key, value in old.items() if new.get(key, value) is not None}
    plain = {key: value for key, value in new.items() if value is not None and key[0] != "$"}
    return result | {key: _merged(old.get(key), value, by_name) for key, value in plain.items()}


def _patched(old: Object, operations: list[Object]) -> Object:
    """Applies a JSON patch (RFC 6902) of replacements and removals."""
    for operation in operations:
        node: Any = old
        *path, last = (int(step) if step.isdigit() else step for step in operation["path"].split("/")[1:])
        for step in path:
            node = node[step]
        if operation["op"] == "remove":
            del node[last]
        else:
            assert operation["op"] == "replace", operation
            node[last] = operation["value"]
    return old


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        match = _PATH.fullmatch(url.path)
        query = dict(parse_qsl(url.query))
        if match and match["version"] in KINDS and query.get("watch") in ("1", "true"):
            self._watch((match["version"], match["resource"], match["namespace"] or ""), query)
            return
        with self.cluster.lock:
            if url.path in DISCOVERY:
                code, answer = 200, DISCOVERY[url.path]
            elif match and match["version"] in KINDS:
                place = (match["version"], match["resource"], match["namespace"] or "")
                given = json.loads(body) if body.startswith((b"{", b"[")) else {}
                if match["sub"] in ("exec", "portforward", "log"):
                    command = parse_qs(url.query).get("command", [])
                    code, answer = _status(400, self.cluster.why_not(place[2], match["name"], command))
                elif match["name"]:
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
        kind = re.search(rf"\b{resource} (\w+)", KINDS[version])
        assert kind, resource
        if resource == "selfsubjectaccessreviews":
            return 201, {"kind": kind[1], "apiVersion": version, "status": {"allowed": True}}
        if self.command == "GET":
            items = self._find(place, query)
            return 200, {"kind": f"{kind[1]}List", "apiVersion": version, "metadata": {}, "items": items}
        if namespace not in ("", "default") and not self.cluster.get(("v1", "namespaces", ""), namespace):
            return _status(404, f'namespaces "{namespace}" not found')
        if self.cluster.get(place, given["metadata"]["name"]):
            return _status(409, f'{resource} "{given["metadata"]["name"]}" already exists')
        return 201, given if "dryRun" in query else self.cluster.put(place, given)

    def _find(self, place: Place, query: dict[str, str]) -> list[Object]:
        pairs = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
        labels = {key: value for key, value in pairs if key[-1] != "!"}  # Traefik asks for owner!=helm
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        return [one for one in self.cluster.find(place, labels) if name in ("", one["metadata"]["name"])]

    def _watch(self, place: Place, query: dict[str, str]) -> None:
        """A watch waits, so pending changes are applied now. Then it reports each change."""
        with self.cluster.lock:
            self.cluster.settle()
        meta = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
        kind = re.search(rf"\b{place[1]} (\w+)", KINDS[place[0]])
        assert kind
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        seen = -1
        known: dict[tuple[str, str], Object] = {}
        while not select.select([self.connection], [], [], 0.05 * (seen >= 0))[0]:
            if seen == self.cluster.changes:
                continue
            begun = seen >= 0
            with self.cluster.lock:
                seen, listed = self.cluster.changes, deepcopy(self._find(place, query))
            found = {(one["metadata"].get("namespace"), one["metadata"]["name"]): one for one in listed}
            for key in known.keys() - found.keys():
                self._tell("DELETED", known[key])
            for key in found:
                if found[key]["metadata"]["resourceVersion"] != known.get(key, {}).get("metadata", {}).get(
                    "resourceVersion"
                ):
                    self._tell("MODIFIED" if key in known else "ADDED", found[key])
            known = found
            if not begun:
                self._tell("BOOKMARK", {"kind": kind[1], "apiVersion": place[0], "metadata": meta})

    def _tell(self, what: str, one: Object) -> None:
        self.wfile.write(json.dumps({"type": what, "object": one}).encode() + b"\n")

    def _one(self, place: Place, name: str, sub: str, dry: bool, given: Object) -> tuple[int, Object]:
        found = self.cluster.get(place, name)
        if not found:
            return _status(404, f'{place[1]} "{name}" not found')
        if sub == "scale":
            if given:
                self.cluster.put(place, _merged(found, {"spec": given["spec"]}, True))
            scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": found["metadata"]}
            return 200, scale | {"spec": {"replicas": found["spec"]["replicas"]}}
        if sub == "status":
            found["status"] = given.get("status", {})
            return 200, found
        if self.command == "DELETE":
            self.cluster.delete(place, name)
            return _status(200)
        if self.command == "PATCH" and not dry:
            if isinstance(given, list):
                new = _patched(deepcopy(found), given)
            else:
                new = _merged(deepcopy(found), given, "strategic" in self.headers["Content-Type"])
            return 200, found if new == found else self.cluster.put(place, new)
        return 200, found

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *arguments: object) -> None:
        """Logs nothing: kubectl prints what matters."""


@contextmanager
def serve(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """Returns a KUBECONFIG file for the cluster."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))
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
