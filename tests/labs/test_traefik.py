"""A real Traefik reads the labs' Ingress and Gateway objects from the stand-in, and routes to real processes.

Traefik 3.7.15 is built with the Gateway API 1.6.3.
"""

import base64
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.certificates import Identity, issue
from tests.labs.cluster import Object
from tests.labs.guide import DOCS, examples
from tests.labs.trainee import Trainee, trainee
from tests.needs import find, require, works
from tests.proxies import pod
from tests.server import PATIENCE, free_port, wait_for

pytestmark = [pytest.mark.xdist_group("traefik"), pytest.mark.slow]

LIE = "192.0.2.7"  # an address that lab 7 writes into headers
PROVIDERS = ("kubernetesingress", "kubernetescrd", "kubernetesgateway")
APPLY = [
    "kubectl apply -k k8s",
    "kubectl scale -n ns1 deployment kubia --replicas=3",
    "kubectl rollout status -n ns1 deployment/kubia",
    "kubectl apply -k k8s/gateway",
]


@dataclass
class Labs:
    """The labs behind Traefik, asked with curl."""

    typist: Trainee
    web: int
    secure: int
    api: int
    authority: Path

    def curl(self, *arguments: str) -> str:
        """curl's output; WEB and SECURE stand for the addresses of the two entry points."""
        places = {"WEB": f"127.0.0.1:{self.web}", "SECURE": f"my.whereami.svc:{self.secure}"}
        words = [re.sub("WEB|SECURE", lambda found: places[found[0]], word) for word in arguments]
        own = ["--resolve", f"my.whereami.svc:{self.secure}:127.0.0.1", "--cacert", str(self.authority)]
        done = subprocess.run(
            ["curl", "-sS", "-m", str(PATIENCE), *own, *words], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def hits(self, times: int, *arguments: str) -> Counter[str]:
        """Which pods answer `count` curls.

        Traefik begins its rotation anew whenever it loads a part of its configuration: wait for even counts.
        """
        answers = [self.curl(*arguments) for _ in range(times)]
        return Counter(re.findall(r"(?:Hostname: |You've hit )(\S+)", "".join(answers)))

    def run(self, command: str) -> None:
        """Type a command that changes the cluster."""
        done = self.typist.run(command)
        assert done.returncode == 0, done.stderr

    def remove_ingresses(self, namespace: str, *names: str) -> None:
        """Deletes Ingresses, and waits until Traefik has no route of their namespace."""
        self.run(f"kubectl delete ingress -n {namespace} {' '.join(names)}")
        url = f"http://127.0.0.1:{self.api}/api/http/routers"
        prefix = f"{namespace}-"

        def gone() -> bool:
            routers = json.loads(self.curl(url))
            return not any(
                one["provider"] == "kubernetes" and one["name"].startswith(prefix) for one in routers
            )

        wait_for(gone)

    def find(self, version: str, resource: str, namespace: str, name: str) -> Object:
        """An object of the cluster."""
        found = self.typist.cluster.get((version, resource, namespace), name)
        assert found
        return found


def start_pods(typist: Trainee, stack: ExitStack) -> None:
    """Starts a process for each pod of a server, with its name and its own address."""
    for number, one in enumerate(typist.cluster.find(("v1", "pods", ""), {})):
        container = one["spec"]["containers"][0]
        program = container["image"].partition(":")[0]
        if program == "utils" or one["metadata"]["namespace"] == "ns2":
            continue
        server = stack.enter_context(pod(program, one["metadata"]["name"], *container.get("args", [])))
        typist.cluster.run_at(one, f"127.0.1.{number + 1}", server.port)


def store(typist: Trainee, identity: Identity) -> None:
    """The secret with the certificate, and Traefik's class of gateways."""
    pair = {"tls.crt": identity.pem, "tls.key": identity.key_pem}
    data = {name: base64.b64encode(pem).decode() for name, pem in pair.items()}
    secret = {
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "whereami-secret"},
        "data": data,
    }
    typist.cluster.put(("v1", "secrets", "ns1"), secret)
    spec = {"controllerName": "traefik.io/gateway-controller"}
    gateway_class: Object = {"kind": "GatewayClass", "metadata": {"name": "traefik"}, "spec": spec}
    typist.cluster.put(("gateway.networking.k8s.io/v1", "gatewayclasses", ""), gateway_class)


@contextmanager
def traefik(typist: Trainee, web: int, secure: int, api: int) -> Iterator[None]:
    """A Traefik that reads the cluster; api is the port of its own API."""
    program = find("traefik")
    assert program
    server = json.loads(typist.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    command = [program, "--global.checknewversion=false", "--global.sendanonymoususage=false"]
    command += [
        f"--entrypoints.web.address=127.0.0.1:{web}",
        f"--entrypoints.websecure.address=127.0.0.1:{secure}",
        f"--entrypoints.traefik.address=127.0.0.1:{api}",
        "--api.insecure=true",
    ]
    command += ["--entrypoints.websecure.http.tls=true"]  # as in its Helm chart, and in k3s
    command += [f"--providers.{name}.{key}" for name in PROVIDERS for key in (f"endpoint={server}", "token=x")]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    """All labs, with three kubia in ns1."""
    require("traefik", "namespaces", "curl")
    authority = issue("authority", is_authority=True)
    folder = tmp_path_factory.mktemp("traefik")
    (folder / "authority.pem").write_bytes(authority.pem)
    with ExitStack() as stack:
        typist = stack.enter_context(trainee(folder))
        labs = Labs(typist, free_port(), free_port(), free_port(), folder / "authority.pem")
        for command in APPLY:
            labs.run(command)
        store(typist, issue("whereami", authority, hosts=("*.whereami.svc",)))
        start_pods(typist, stack)
        stack.enter_context(traefik(typist, labs.web, labs.secure, labs.api))
        wait_for(lambda: works("curl", "-sf", f"http://127.0.0.1:{labs.web}/"))
        yield labs


def watch(*arguments: str) -> str:
    """What whoami watch prints."""
    command = [sys.executable, "-m", "whoami", "watch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=True).stdout


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("", "/", "whoami"),
        ("", "/whoareyou", "whoareyou"),
        ("", "/whoareyou/x", "whoareyou"),
        ("whoami.localhost", "/whoareyou", "whoami"),
        ("whoareyou.localhost", "/", "whoareyou"),
        ("other.localhost", "/", "whoami"),
    ],
)
def test_routes_by_host_and_path(labs: Labs, host: str, path: str, name: str) -> None:
    """A named host wins over the rule without one; of the paths, the longest match."""
    answer = labs.curl("-H", f"Host: {host or 'anything.example'}", f"http://WEB{path}")
    assert answer.startswith(f"Name: {name}\n")


@pytest.mark.parametrize(("path", "replicas"), [("/", 2), ("/whoareyou", 3)])
def test_an_ingress_takes_the_pods_in_turn(labs: Labs, path: str, replicas: int) -> None:
    """Not at random: 10 and 10 (one more or less of three), even on one keep-alive connection."""
    url, off = f"http://WEB{path}", 0 if replicas == 2 else 1

    def are_even(counts: Counter[str]) -> bool:
        return len(counts) == replicas and all(abs(count - 10) <= off for count in counts.values())

    wait_for(lambda: are_even(labs.hits(10 * replicas, url)))
    kept = [url] * 10 * replicas
    wait_for(lambda: are_even(Counter(re.findall(r"Hostname: (\S+)", labs.curl(*kept)))))


def shown(page: str, path: str) -> tuple[list[str], str]:
    """A page's `curl` arguments for a path of the Ingress, and its output."""
    typed = [one for one in examples(DOCS / page) if one.command.endswith(f"http://$INGRESS{path}")]
    (example,) = (one for one in typed if "kubectl" not in one.command)
    return shlex.split(example.command.replace("$INGRESS", "WEB"))[1:], example.output


def plain(text: str) -> str:
    """The text without addresses, ports and the names of pods and proxies."""
    text = re.sub(r"  node=\S+|(curl/)\S+", r"\1", text)
    text = re.sub(r"\b(peer|id|request|hostname|addresses)=\S+", r"\1=...", text)
    text = re.sub(r"(X-Forwarded-(?:Port|Server):? +)\S+", r"\1...", text)
    return re.sub(r"\b\d+\.\d+\.\d+\.\d+(?::\d+)?", lambda found: found[0] if found[0] == LIE else "IP", text)


@pytest.mark.parametrize("path", ["/.hops", "/.raw"])
def test_lab_7_shows_what_comes_through_traefik(labs: Labs, path: str) -> None:
    """Its claims and the contradiction; and the bytes: Traefik's order, spelling, and additions."""
    arguments, output = shown("7-where-the-client-comes-from.md", path)
    assert plain(labs.curl(*arguments)) == plain(output)


def test_an_ingress_before_a_headless_service_balances(labs: Labs) -> None:
    """Over TLS with the secret's certificate; ten requests to three pods."""
    service = labs.find("v1", "services", "ns1", "kubia-headless")
    assert service["spec"]["clusterIP"] == "None"
    wait_for(lambda: sorted(labs.hits(10, "https://SECURE/").values()) == [3, 3, 4])


def test_plain_http_is_redirected(labs: Labs) -> None:
    """By Traefik's middleware; before, only the rule for all hosts serves that name without TLS."""
    ask = ["-i", "-H", "Host: my.whereami.svc", "http://WEB/a?b"]
    assert "You've hit" not in labs.curl(*ask)
    labs.run("kubectl apply -k k8s/traefik")
    try:
        wait_for(lambda: "Location: https://my.whereami.svc/a?b\n" in labs.curl(*ask))
        assert labs.curl(*ask).startswith("HTTP/1.1 301 ")
        assert labs.curl("https://SECURE/").startswith("You've hit ")
    finally:
        labs.run("kubectl delete -k k8s/traefik")


def test_a_cookie_keeps_a_client_with_its_pod(labs: Labs, tmp_path: Path) -> None:
    """By the service annotations in lab 6; a client without a jar moves between pods."""
    annotate = "kubectl annotate service whoami-service traefik.ingress.kubernetes.io/service.sticky.cookie"
    labs.run(f"{annotate}=true traefik.ingress.kubernetes.io/service.sticky.cookie.name=lab")
    jar = ["-b", str(tmp_path / "jar"), "-c", str(tmp_path / "jar")]
    try:
        wait_for(lambda: "Set-Cookie: lab=" in labs.curl("-i", "http://WEB/"))
        assert list(labs.hits(10, *jar, "http://WEB/").values()) == [10]
        spread = labs.hits(10, "http://WEB/")
        assert len(spread) == 2
        assert max(spread.values()) <= 7
        assert "One pod answers all: sticky" in watch("--cookies", "-n", "10", f"http://127.0.0.1:{labs.web}/")
    finally:
        labs.run(f"{annotate}- traefik.ingress.kubernetes.io/service.sticky.cookie.name-")
        wait_for(lambda: "Set-Cookie" not in labs.curl("-i", "http://WEB/"))


def test_watch_tells_that_a_proxy_is_in_between(labs: Labs) -> None:
    """The sentences in labs 6 and 9: requests of one connection spread; a cookie keeps them."""
    url = f"http://127.0.0.1:{labs.web}/"
    assert "An HTTP proxy is in between: it spreads requests of one connection." in watch("--keep-alive", url)


def test_http2_and_grpc_reach_the_pods(labs: Labs) -> None:
    """With the annotation that makes Traefik use HTTP/2; gRPC calls spread like requests."""
    annotate = "kubectl annotate service whoami-service traefik.ingress.kubernetes.io/service.serversscheme"
    command = [sys.executable, "-m", "whoami", "watch", "--grpc", "-n", "1", f"http://127.0.0.1:{labs.web}"]
    assert not works(*command)
    labs.run(f"{annotate}=h2c")
    try:
        wait_for(lambda: works(*command))
        said = watch("--grpc", "-n", "20", f"http://127.0.0.1:{labs.web}")
        assert re.search(r"^gRPC +10 +10 +1 ", said, re.MULTILINE), said
    finally:
        labs.run(f"{annotate}-")
        wait_for(lambda: not works(*command))


async def test_a_websocket_passes(labs: Labs) -> None:
    """To one of the pods, where it stays."""
    async with ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{labs.web}/echo") as socket:
        for text in ("one", "two"):
            await socket.send_str(text)
            assert await socket.receive_str(timeout=PATIENCE) == text


def gateway(labs: Labs, namespace: str, name: str) -> str:
    """Traefik's report on a gateway."""
    found = labs.find("gateway.networking.k8s.io/v1", "gateways", namespace, name)
    return json.dumps(found.get("status", {}))


def listen(labs: Labs, namespace: str, name: str) -> None:
    """Gives a gateway Traefik's class, and its listeners the ports of Traefik's entry points."""
    found = labs.find("gateway.networking.k8s.io/v1", "gateways", namespace, name)
    ports = {"HTTP": labs.web, "HTTPS": labs.secure}
    listeners = [one | {"port": ports[one["protocol"]]} for one in found["spec"]["listeners"]]
    spec = json.dumps({"spec": {"gatewayClassName": "traefik", "listeners": listeners}})
    labs.run(f"kubectl patch gateway -n {namespace} {name} --type=merge -p '{spec}'")
    wait_for(lambda: '"Programmed"' in gateway(labs, namespace, name))


def test_a_gateway_needs_its_class_and_a_port_that_is_listened_on(labs: Labs) -> None:
    """Another controller's class is ignored; a port without an entry point is reported."""
    assert "traefik" not in gateway(labs, "default", "labs")
    spec = json.dumps({"spec": {"gatewayClassName": "traefik"}})
    labs.run(f"kubectl patch gateway labs --type=merge -p '{spec}'")
    wait_for(lambda: "PortUnavailable" in gateway(labs, "default", "labs"))


def test_routes_of_a_gateway(labs: Labs) -> None:
    """By path, like the Ingresses; and a canary that gets one of ten requests, by weight."""
    listen(labs, "default", "labs")
    labs.remove_ingresses("default", "whoami-ingress", "whoareyou-ingress")
    try:
        wait_for(lambda: labs.curl("http://WEB/canary").startswith("Name: "))
        shares = Counter(labs.curl("http://WEB/canary").split("\n")[0] for _ in range(100))
        assert shares.total() == shares["Name: whoami"] + shares["Name: whoareyou"]
        assert 5 <= shares["Name: whoareyou"] <= 15
        assert labs.curl("http://WEB/").startswith("Name: whoami\n")
        assert labs.curl("http://WEB/whoareyou").startswith("Name: whoareyou\n")
        for name in ("whoami", "whoareyou", "canary"):
            route = labs.find("gateway.networking.k8s.io/v1", "httproutes", "default", name)
            (parent,) = route["status"]["parents"]
            told = {one["type"]: one["status"] for one in parent["conditions"]}
            assert told == {"Accepted": "True", "ResolvedRefs": "True"}
    finally:
        labs.run("kubectl apply -f k8s/whoami/ingress.yaml -f k8s/whoareyou/ingress.yaml")


def test_tls_and_redirect_of_a_gateway(labs: Labs) -> None:
    """With the secret's certificate, in front of the headless service, without annotations."""
    listen(labs, "ns1", "whereami")
    labs.remove_ingresses("ns1", "whereami")
    ask = [
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        "-H",
        "Host: my.whereami.svc",
        "http://WEB/",
    ]
    try:
        wait_for(lambda: labs.curl(*ask) == "301 https://my.whereami.svc/")
        wait_for(lambda: sorted(labs.hits(10, "https://SECURE/").values()) == [3, 3, 4])
    finally:
        labs.run("kubectl apply -f k8s/ns1/ingress.yaml")
