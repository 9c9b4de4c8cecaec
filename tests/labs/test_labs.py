"""What the trainees rely on: names, labels, ports, and consistency."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.labs.manifests import (
    K8S,
    Manifest,
    everything,
    files,
    key,
    kubectl,
    kustomizations,
    read,
    render,
    show,
)

ALL = everything()
GATEWAY = {key(manifest): manifest for manifest in render(K8S / "gateway")}
SCALING = {key(manifest): manifest for manifest in render(K8S / "scaling")}
TRAEFIK = {key(manifest): manifest for manifest in render(K8S / "traefik")}
BESIDE = GATEWAY | SCALING | TRAEFIK  # not available on every cluster
KUBIA = ["Deployment {}/kubia", *(f"Service {{}}/kubia{end}" for end in ("", "-clusterip", "-headless", "-lb"))]
LABS = {
    "Namespace ns1",
    "Namespace ns2",
    "Deployment whoami-deployment",
    "Service whoami-service",
    "Service whoami-service-nodeport",
    "Service whoami-service-loadbalancer",
    "Ingress whoami-ingress",
    "Deployment whoareyou-deployment",
    "Service whoareyou-service",
    "Service whoareyou-headless",
    "Ingress whoareyou-ingress",
    "Deployment utils",
    "Deployment ns1/utils",
    "Ingress ns1/whereami",
    *(name.format(namespace) for name in [*KUBIA, "Service {}/kubia-sticky"] for namespace in ("ns1", "ns2")),
}
DEPLOYMENTS = [name for name in ALL if name.startswith("Deployment")]
SERVICES = [name for name in ALL if name.startswith("Service")]
ROUTED = [name for name in ALL | BESIDE if name.startswith(("Ingress", "HTTPRoute"))]
FOLDERS = [K8S / name for name in ("whoami", "whoareyou", "kubia", "utils", "gateway", "scaling", "traefik")]


def pod(deployment: Manifest) -> dict[str, Any]:
    """The pod spec of a deployment."""
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def namespace(manifest: Manifest) -> str:
    """The namespace of an object; empty for the current one."""
    return str(manifest["metadata"].get("namespace", ""))


def selected(selector: dict[str, str], where: str) -> list[str]:
    """The deployments in a namespace whose pods match a selector."""
    return [
        name
        for name in DEPLOYMENTS
        if namespace(ALL[name]) == where
        and selector.items() <= ALL[name]["spec"]["template"]["metadata"]["labels"].items()
    ]


def test_one_command_brings_up_all_labs() -> None:
    """`kubectl apply -k k8s`: nothing is missing and nothing is accidental."""
    assert set(ALL) == LABS


def test_one_command_needs_nothing_that_is_not_everywhere() -> None:
    """A cluster without the Gateway API or Traefik would refuse the whole command."""
    assert not [name for name in ALL if "gateway.networking" in ALL[name]["apiVersion"]]
    assert not ALL.keys() & BESIDE.keys()


def test_each_file_belongs_to_a_kustomization() -> None:
    """-k misses no manifest in a folder."""
    applied = {(key(one)).split("/")[-1] for folder in kustomizations() for one in render(folder)}
    for path in files():
        assert {key(one).split("/")[-1] for one in read(path)} <= applied, show(path)


@pytest.mark.parametrize("folder", FOLDERS, ids=show)
def test_each_lab_applies_alone(folder: Path) -> None:
    """`kubectl apply -f` of a folder applies exactly what `-k` renders."""
    read_by_kubectl = kubectl("label", "--local", "-f", folder, "a=b", "-o", "name").split()
    assert sorted(name.split("/")[1] for name in read_by_kubectl) == sorted(
        manifest["metadata"]["name"] for manifest in render(folder)
    )


def test_a_kustomization_by_its_usual_name_would_stop_it(tmp_path: Path) -> None:
    """The reason for the kustomizations' names: kubectl reads every .yaml file in a folder."""
    folder = shutil.copytree(K8S / "utils", tmp_path / "utils")
    (folder / "Kustomization").rename(folder / "kustomization.yaml")
    assert render(folder)
    read_by_kubectl = kubectl("label", "--local", "-f", folder, "a=b", "-o", "name").split()
    assert any(name.startswith("kustomization") for name in read_by_kubectl)


@pytest.mark.parametrize(
    ("name", "replicas", "label", "container", "image", "port"),
    [
        ("whoami-deployment", 2, ("app", "whoami"), "whoami-container", "whoami", 80),
        ("whoareyou-deployment", 3, ("app", "whoareyou"), "whoareyou-container", "whoami", 80),
        ("ns1/kubia", 1, ("run", "kubia"), "kubia", "whereami", 8080),
        ("ns2/kubia", 1, ("run", "kubia"), "kubia", "whereami", 8080),
        ("utils", 1, ("run", "utils"), "utils", "utils", None),
        ("ns1/utils", 1, ("run", "utils"), "utils", "utils", None),
    ],
)
def test_deployments(
    name: str, replicas: int, label: tuple[str, str], container: str, image: str, port: int | None
) -> None:
    """Names, labels and ports are the labs', and the image has this version."""
    spec = ALL[f"Deployment {name}"]["spec"]
    (only,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == replicas
    assert spec["selector"]["matchLabels"] == dict([label])
    assert only["name"] == container
    assert only["image"] == f"{image}:{version('whoami-whereami')}"
    ports = [{"name": "http", "containerPort": port}] if port else []
    assert only.get("ports", []) == ports


@pytest.mark.parametrize(
    ("name", "kind", "port"),
    [
        ("whoami-service", "ClusterIP", 80),
        ("whoami-service-nodeport", "NodePort", 80),
        ("whoami-service-loadbalancer", "LoadBalancer", 80),
        ("whoareyou-service", "ClusterIP", 80),
        ("whoareyou-headless", "ClusterIP", 80),
        ("ns1/kubia", "ClusterIP", 8080),
        ("ns1/kubia-clusterip", "ClusterIP", 8080),
        ("ns1/kubia-headless", "ClusterIP", 8080),
        ("ns1/kubia-sticky", "ClusterIP", 8080),
        ("ns2/kubia-lb", "LoadBalancer", 8080),
    ],
)
def test_services(name: str, kind: str, port: int) -> None:
    """Types and ports are the labs'; only headless ones have no IP, only kubia-sticky has affinity."""
    spec = ALL[f"Service {name}"]["spec"]
    assert spec.get("type", "ClusterIP") == kind
    assert [(one["name"], one["port"]) for one in spec["ports"]] == [("http", port)]
    assert (spec.get("clusterIP") == "None") == name.endswith("-headless")
    assert (spec.get("sessionAffinity") == "ClientIP") == name.endswith("-sticky")


@pytest.mark.parametrize("name", SERVICES)
def test_services_select_pods(name: str) -> None:
    """A service selects the pods of one deployment in its namespace, and names one of their ports."""
    service = ALL[name]
    (deployment,) = selected(service["spec"]["selector"], namespace(service))
    ports = {port["name"] for port in pod(ALL[deployment])["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_deployments_select_their_own_pods(name: str) -> None:
    """And no others; the spread constraint counts the same pods."""
    deployment = ALL[name]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selected(selector, namespace(deployment)) == [name]
    for constraint in pod(deployment).get("topologySpreadConstraints", []):
        assert constraint["labelSelector"]["matchLabels"] == selector
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]  # otherwise an update may end on one node
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"


def backends(route: Manifest) -> list[tuple[str, str | int]]:
    """The services, with port name or number, of an Ingress or HTTPRoute."""
    if route["kind"] == "HTTPRoute":
        rules = route["spec"]["rules"]
        assert all(rule.get("backendRefs") or rule["filters"][0]["type"] == "RequestRedirect" for rule in rules)
        return [(one["name"], one["port"]) for rule in rules for one in rule.get("backendRefs", [])]
    services = [path["backend"]["service"] for rule in route["spec"]["rules"] for path in rule["http"]["paths"]]
    return [(service["name"], service["port"]["name"]) for service in services]


@pytest.mark.parametrize("name", ROUTED)
def test_routes_lead_to_services(name: str) -> None:
    """The service exists in the same namespace, with that port."""
    route = (ALL | BESIDE)[name]
    for service, port in backends(route):
        found = ALL[f"Service {namespace(route)}/{service}".replace(" /", " ")]["spec"]["ports"][0]
        assert port in (found["name"], found["port"])


@pytest.mark.parametrize("name", [name for name in SERVICES if ALL[name]["spec"].get("clusterIP") == "None"])
def test_headless_services_name_the_port_of_the_container(name: str) -> None:
    """Without a virtual IP no port is translated."""
    (deployment,) = selected(ALL[name]["spec"]["selector"], namespace(ALL[name]))
    ports = {port["containerPort"] for port in pod(ALL[deployment])["containers"][0]["ports"]}
    assert {port["port"] for port in ALL[name]["spec"]["ports"]} == ports


@pytest.mark.parametrize("name", [name for name in GATEWAY if name.startswith("HTTPRoute")])
def test_routes_hang_on_a_gateway(name: str) -> None:
    """They attach to an existing listener."""
    (parent,) = GATEWAY[name]["spec"]["parentRefs"]
    gateway = GATEWAY[f"Gateway {namespace(GATEWAY[name])}/{parent['name']}".replace(" /", " ")]
    assert parent["sectionName"] in {listener["name"] for listener in gateway["spec"]["listeners"]}


def test_ingresses() -> None:
    """Hosts, paths, services and the certificate are the labs', in the current API version."""
    found = {
        (name.partition(" ")[2], rule.get("host"), path["path"]): path["backend"]["service"]["name"]
        for name in ALL
        if name.startswith("Ingress")
        for rule in ALL[name]["spec"]["rules"]
        for path in rule["http"]["paths"]
        if path["pathType"] == "Prefix"
    }
    assert found == {
        ("whoami-ingress", None, "/"): "whoami-service",
        ("whoami-ingress", "whoami.localhost", "/"): "whoami-service",
        ("whoareyou-ingress", None, "/whoareyou"): "whoareyou-service",
        ("whoareyou-ingress", "whoareyou.localhost", "/"): "whoareyou-service",
        ("ns1/whereami", "my.whereami.svc", "/"): "kubia-headless",
    }
    assert all(ALL[f"Ingress {name}"]["spec"]["ingressClassName"] for name, _, _ in found)
    tls = [{"hosts": ["my.whereami.svc"], "secretName": "whereami-secret"}]
    assert ALL["Ingress ns1/whereami"]["spec"]["tls"] == tls
    plain, secure = GATEWAY["Gateway ns1/whereami"]["spec"]["listeners"]
    assert plain["hostname"] == secure["hostname"] == "my.whereami.svc"
    assert secure["tls"]["certificateRefs"] == [{"name": "whereami-secret"}]


@pytest.mark.parametrize("name", ["whoami", "whoareyou"])
def test_servers_are_told_where_they_are(name: str) -> None:
    """By the Downward API, and by the names of the service and Ingress."""
    (container,) = pod(ALL[f"Deployment {name}-deployment"])["containers"]
    told = {
        one["name"]: one.get("value") or one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]
    }
    assert told == {
        "POD_NAME": "metadata.name",
        "NAMESPACE": "metadata.namespace",
        "NODE_NAME": "spec.nodeName",
        "SERVICE_NAME": f"{name}-service",
        "INGRESS_NAME": f"{name}-ingress",
    }
    assert {f"Service {told['SERVICE_NAME']}", f"Ingress {told['INGRESS_NAME']}"} <= set(ALL)


def test_scaling_fits_the_deployment() -> None:
    """The autoscaler and budget target whoami; there is a CPU request, and room for a drain."""
    autoscaler, budget = (
        SCALING["HorizontalPodAutoscaler whoami"]["spec"],
        SCALING["PodDisruptionBudget whoami"],
    )
    deployment = ALL[f"Deployment {autoscaler['scaleTargetRef']['name']}"]
    assert autoscaler["minReplicas"] == deployment["spec"]["replicas"] > budget["spec"]["maxUnavailable"]
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert pod(deployment)["containers"][0]["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("name", sorted(name for name in LABS if name.startswith("Namespace")))
def test_namespaces_enforce_the_standard(name: str) -> None:
    """The cluster itself enforces the restricted standard in ns1 and ns2."""
    assert ALL[name]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", sorted(set(ALL) | set(BESIDE)))
def test_objects_carry_the_common_labels(name: str) -> None:
    """So that `kubectl get all -l app.kubernetes.io/part-of=labs` shows the labs."""
    assert (ALL | BESIDE)[name]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "labs"


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if not name.endswith("utils")])
def test_servers_are_replaced_without_a_gap(name: str) -> None:
    """A new pod is ready before an old one stops, and the old one has time to shut down."""
    spec = ALL[name]["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (container,) = pod(ALL[name])["containers"]
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = 10  # the servers' --grace-period
    assert not any("grace-period" in argument for argument in container.get("args", []))
    assert pod(ALL[name])["terminationGracePeriodSeconds"] > wait + drain
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
