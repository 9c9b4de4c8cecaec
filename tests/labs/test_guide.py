"""The guide, checked against its files, a real kubectl, Docker and the running servers."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.labs.cluster import NO_CONTAINERS
from tests.labs.guide import DOCS, PAGES, Example, anchors, everything_typed, examples
from tests.labs.manifests import K8S, ROOT, kubectl
from tests.labs.trainee import trainee
from tests.needs import require
from tests.server import PATIENCE, Server, started, wait_for

TYPED = everything_typed()
LABS = [page for page in PAGES if page.name[0].isdigit()]
WIDE_POD = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"
# The columns that the API server gives for each kind (kubernetes pkg/printers, and the Gateway API's CRDs)
COLUMNS = {
    "pods": ["NAME READY STATUS RESTARTS AGE", WIDE_POD],
    "services": ["NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"],
    "deployments": [
        "NAME READY UP-TO-DATE AVAILABLE AGE",
        "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
    ],
    "replicasets": ["NAME DESIRED CURRENT READY AGE"],
    "endpointslices": ["NAME ADDRESSTYPE PORTS ENDPOINTS AGE"],
    "ingress": ["NAME CLASS HOSTS ADDRESS PORTS AGE"],
    "ingressclass": ["NAME CONTROLLER PARAMETERS AGE"],
    "gatewayclass": ["NAME CONTROLLER ACCEPTED AGE"],
    "apiservice": ["NAME SERVICE AVAILABLE AGE"],
    "hpa": ["NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE"],
    "pdb": ["NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"],
    "gateway": ["NAME CLASS ADDRESS PROGRAMMED AGE"],
}
# Commands that were typed before the trainer looks for problems
BEFORE = {
    "kubectl get pods -A -o wide": "kubectl apply -k k8s && kubectl rollout status -n ns1 deployment/kubia"
}
# The client addresses of `whoami dns`, and the records for its examples
CLIENTS = {"ns1": "10.244.1.5/24", "ns2": "10.244.1.6/24"}
HEADLESS = "kubia-headless.ns1.svc.cluster.local."
RECORDS = {
    f"{HEADLESS} A": ["10.244.1.7", "10.244.2.8", "10.244.1.11"],
    f"_http._tcp.{HEADLESS} SRV": [
        f"0 33 8080 {address}.{HEADLESS}" for address in ("10-244-1-7", "10-244-2-8", "10-244-1-11")
    ],
    "kubia.ns2.svc.cluster.local. A": ["10.96.87.210"],
    "_http._tcp.kubia.ns2.svc.cluster.local. SRV": ["0 100 8080 kubia.ns2.svc.cluster.local."],
}
# Commands that need a cluster with containers; the format of tables has its own test
UNTRIED = re.compile(r"kubectl (run|debug|drain|uncordon|top) |kubectl .* --watch\b")
TOOLS = {"curl", "host", "dig", "getent", "ip", "ping", "head", "sort", "uniq", "grep", "seq", "bash", "cat"}


def named(pattern: str) -> list[Example]:
    """The examples whose command matches the pattern."""
    found = [example for example in TYPED if re.search(pattern, example.command)]
    assert found, pattern
    return found


def anonymous(text: str) -> str:
    """The text without names and addresses that differ between clusters."""
    text = re.sub(r"-(?=[a-z]*\d)([0-9a-z]{9,10}(-[0-9a-z]{5})?|[0-9a-z]{5})\b", "-HASH", text)
    text = re.sub(r"(IP: .*\n)+", "IP: ...\n", text.replace("\r\n", "\n"))
    text = re.sub(r"(Hostname: ).*|(RemoteAddr: ).*|(You've hit ).*( on this node: ).*", r"\1\2\3\4", text)
    text = re.sub(r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS", text)
    return re.sub(r"(localhost):\d+|(curl/)[0-9.]+", r"\1\2", text)


def way(text: str) -> str:
    """The output of /.hops without values that always differ."""
    return re.sub(r"\b(peer|id|request|hostname|addresses|node)=\S+", r"\1=...", text)


def is_table(text: str) -> bool:
    """Whether a text begins with a header of `kubectl get`."""
    return bool(re.match(r"(NAMESPACE +)?NAME  +[A-Z]", text))


def cells(line: str) -> list[str]:
    """The cells of a table's line; two or more spaces separate them."""
    return re.split(r" {2,}", line.strip())


def names(table: str) -> list[tuple[str, str]]:
    """The namespaces (empty without -A) and names in the first of the tables, without their kind."""
    header, *rows = map(cells, anonymous(table).split("\n\n")[0].splitlines())
    place = header.index("NAME")
    return sorted((row[0] if place else "", row[place].rpartition("/")[2]) for row in rows)


ECHOES = [example for example in TYPED if re.match(r"Name: (?s:.*)^GET /", example.output, re.MULTILINE)]
LINES = re.compile(r"( *\d+ )?(You've hit|Hostname: |Name: )")
ANSWERS = [example for example in TYPED if LINES.match(example.output) and example not in ECHOES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    """Files and folders in commands and text; make targets; links and anchors."""
    text = page.read_text()
    assert [name for name in re.findall(r"k8s(?:/[\w.-]*\w)*", text) if not (ROOT / name).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert "compose.yaml" not in text or (ROOT / "compose.yaml").exists()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, fragment = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not fragment or fragment in anchors(linked), target


@pytest.mark.parametrize("page", LABS, ids=lambda page: page.name)
def test_a_lab_has_all_its_parts(page: Path) -> None:
    """Each lab: what we'll do, commands, what you should see, why, questions, clean-up."""
    text = page.read_text()
    parts = ["## What we'll do", "## Commands", "**What you should see:**", "## Why"]
    parts += ["## Questions a trainer asks", "## What replaced what", "## Clean-up"]
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)


def test_the_index_leads_to_every_page() -> None:
    """docs/README.md links each page, and the project's README links the index."""
    index = (DOCS / "README.md").read_text()
    assert [page.name for page in PAGES if f"]({page.name})" not in index] == ["README.md"]
    assert "](docs/README.md)" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_kubectl_does_what_a_page_shows(page: Path, tmp_path: Path) -> None:
    """Every kubectl command of a page, in order, is understood, finds its objects, and prints what is shown.

    Nothing is used before it exists: containers start and new services answer while `rollout status` waits.
    """
    with trainee(tmp_path) as typist:
        for example in examples(page):
            if example.command in BEFORE:
                assert typist.run(BEFORE[example.command]).returncode == 0
            if UNTRIED.match(example.command) or not (done := typist.type(example)):
                continue
            if example.inside or re.search(r"kubectl (exec|port-forward|logs)", example.command):
                assert NO_CONTAINERS in done.stderr, f"{example}: {done.stderr}"
                continue
            assert done.returncode == 0, f"{example}: {done.stdout}{done.stderr}"
            printed = done.stdout or done.stderr  # "No resources found" goes to the standard error
            printed = re.sub(r"^Waiting for .*\n", "", printed, flags=re.MULTILINE)
            if is_table(example.output):
                assert not done.stdout or names(done.stdout) == names(example.output), str(example)
            elif example.output:
                assert anonymous(printed) == anonymous(example.output), str(example)


@pytest.mark.parametrize("example", [one for one in TYPED if UNTRIED.match(one.command)], ids=str)
def test_kubectl_knows_what_only_a_cluster_can_do(example: Example) -> None:
    """At least its verb and flags."""
    own = shlex.split(example.command.partition(" -- ")[0])
    usage = kubectl(own[1], "--help")
    for flag in (word.partition("=")[0].replace("-it", "-i") for word in own if word[0] == "-"):
        known = re.search(rf"^ +(-\w, )?{flag}=|^ +{flag}, ", usage, re.MULTILINE)
        assert known or flag in ("-n", "--namespace"), flag


@pytest.mark.parametrize("example", named(r"\bcurl "), ids=str)
def test_curl_does_not_hide_what_went_wrong(example: Example) -> None:
    """With `curl -s`, a trainee sees an empty line if nobody answers."""
    assert not re.search(r"curl (-\w+ )*-s\b", example.command)


@pytest.mark.parametrize("example", [example for example in TYPED if is_table(example.output)], ids=str)
def test_a_table_is_as_kubectl_prints_it(example: Example) -> None:
    """The API server's columns, each three spaces wider than its longest cell; one table per kind."""
    kinds = shlex.split(example.command)[2].split(",")
    tables = [table.splitlines() for table in example.output.split("\n\n") if table]
    assert len(tables) == len(kinds)
    for kind, (header, *rows) in zip(kinds, tables, strict=True):
        kind = kind if kind in COLUMNS else f"{kind}s"
        columns = [column.replace("_", " ") for column in cells(header)]
        assert " ".join(columns).removeprefix("NAMESPACE ") in COLUMNS[kind]
        assert ("-A" in example.command) == (columns[0] == "NAMESPACE")
        assert ("-o wide" in example.command) == (
            " ".join(columns).removeprefix("NAMESPACE ") != COLUMNS[kind][0]
        )
        lines = [cells(header), *map(cells, rows)]
        widths = [max(map(len, column)) + 3 for column in zip(*lines, strict=True)]
        for line, shown in zip(lines, (header, *rows), strict=True):
            drawn = "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            assert drawn.rstrip() == shown.rstrip(), shown


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("1-whoami-whoareyou-whereami.md", "whoami"),
        ("4-build-and-push.md", "iamfoo"),
        ("10-drain-a-pod-by-its-health.md", "whoami"),
    ],
)
def test_curl_on_this_machine_prints_what_is_shown(page: str, name: str) -> None:
    """The curls to localhost, run in order against a whoami."""
    typed = [example for example in examples(DOCS / page) if example.command.startswith("curl")]
    local = [example for example in typed if " localhost:" in example.command]
    assert local
    with started("whoami", "--name", name) as server:
        for example in local:
            command = example.command.replace("8080", str(server.port))
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == 0, done.stderr
            assert anonymous(done.stdout) == anonymous(example.output), str(example)


@pytest.mark.parametrize("example", ECHOES, ids=str)
def test_an_echo_is_what_whoami_answers_to_such_a_request(example: Example) -> None:
    """The shown request, sent again, gives the shown text, whatever a proxy added."""
    name = re.match(r"Name: (.*)\n", example.output)
    assert name
    head = example.output[example.output.index("GET /") :].rstrip("\n").replace("\n", "\r\n")
    with started("whoami", "--name", name[1]) as server:
        answer = server.ask(f"{head}\r\n\r\n".encode())
    assert anonymous(answer.body.decode()) == anonymous(example.output)


@pytest.mark.parametrize("example", named(r"/\.hops$"), ids=str)
def test_hops_are_what_whoami_tells_of_such_claims(example: Example) -> None:
    """The claimed headers on a page, sent again, give the shown text and contradictions."""
    claims = re.findall(r"^claimed  (\S+) +(.*)$", example.output, re.MULTILINE)
    with started("whoami", env={"NODE_NAME": "worker1"}) as server:
        told = server.get("/.hops", *(f"{name}: {value}" for name, value in claims)).body.decode()
    assert way(told) == way(example.output)


@pytest.fixture(scope="module")
def real(whereami: Server) -> str:
    """The answers of whoami, with the labs' name, and of whereami."""
    with started("whoami", "--name=whoami") as whoami:
        return whoami.get("/").body.decode() + whereami.get("/").body.decode()


@pytest.mark.parametrize("example", ANSWERS, ids=str)
def test_every_answer_shown_is_one_of_the_servers(example: Example, real: str) -> None:
    """Each line is one of whoami's or whereami's, and the counts match the number of requests."""
    shown = anonymous(re.sub(r"^ *\d+ ", "", example.output, flags=re.MULTILINE)).replace("whoareyou", "whoami")
    assert set(shown.splitlines()) <= set(anonymous(real).splitlines())
    rounds = re.search(r"seq 1 (\d+)", example.command)
    if rounds:
        counts = re.findall(r"^ *(\d+) ", example.output, re.MULTILINE) or ["1"] * example.output.count("\n")
        assert sum(map(int, counts)) == int(rounds[1])


@pytest.mark.parametrize("example", [example for example in TYPED if example.inside], ids=str)
def test_what_is_typed_in_the_utils_pod_is_there(example: Example) -> None:
    """The shell accepts it, and every program is in the utils image."""
    assert subprocess.run(["bash", "-n", "-c", example.command]).returncode == 0
    programs = re.findall(r"(?:^|[;|(] *(?:do )?)([a-z]+)", example.command)
    assert set(programs) - {"for", "do", "done", "exit"} <= TOOLS


def test_the_end_is_told_as_lab_5_shows_it() -> None:
    """With a shorter delay than in its manifest, and one more request during it."""
    page = (DOCS / "5-update-without-losing-a-request.md").read_text()
    shown = re.findall(r"^whoami: .*$", page, re.MULTILINE)
    with started("whoami", "--shutdown-delay=1s") as server:
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "leaving" in "".join(server.err))
        assert server.get("/").status == 200
        assert server.process.wait(PATIENCE) == 0
        server.stop()  # reads the last output
    told = "".join(server.err).splitlines()
    numbers = re.compile(r"(?<=from )\S+|\d+")
    assert [numbers.sub("N", line) for line in told] == [numbers.sub("N", line) for line in shown]


@pytest.mark.parametrize("example", named(r"kubectl exec .*deploy/kubia"), ids=str)
def test_what_runs_in_a_kubia_pod_is_there(example: Example) -> None:
    """The whereami image contains no other programs than curl, ping and the servers."""
    words = shlex.split(example.command)
    assert words[words.index("--") + 1] in {"curl", "ping", "whoami"}


@pytest.mark.parametrize("example", named(r"-- whoami dns "), ids=str)
def test_whoami_dns_prints_what_is_shown(example: Example, tmp_path: Path) -> None:
    """With a name server for the pages' names, in a namespace with the client's address."""
    require("namespaces", "ip")
    found = re.search(r"-n (ns\d) .*whoami dns (\S+)$", example.command)
    assert found
    search = f"search {found[1]}.svc.cluster.local svc.cluster.local cluster.local\n"
    plan = {"addresses": [CLIENTS[found[1]]], "records": RECORDS, "shuffle": True, "log": str(tmp_path / "log")}
    plan["resolv_conf"] = f"{search}nameserver 127.0.0.1\noptions ndots:5\n"
    (tmp_path / "plan").write_text(json.dumps(plan))
    command = ["unshare", *["--map-root-user"] * (os.geteuid() != 0), "--net", "--mount", sys.executable, "-m"]
    command += ["tests.dns_server", str(tmp_path / "plan"), sys.executable, "-m", "whoami", "dns", found[2]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    shown, printed = (re.sub(r"(?m)^([\d.]+ +)\d+ ", r"\1N ", text) for text in (example.output, done.stdout))
    assert re.sub(" +", " ", printed) == re.sub(" +", " ", shown)


@pytest.mark.parametrize("example", named(r"whoami watch "), ids=str)
def test_whoami_watch_knows_the_flags(example: Example) -> None:
    """Each is in its help."""
    words = shlex.split(example.command.partition("whoami watch ")[2])
    command = [sys.executable, "-m", "whoami", "watch", "--help"]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {word for word in words if word[0] == "-"} <= set(re.findall(r"--?[a-z-]+", usage))


@pytest.mark.parametrize("example", named(r"^make manifests"), ids=str)
def test_make_manifests_prints_what_is_shown(example: Example, tmp_path: Path) -> None:
    """In a copy of the project, so that this one stays unchanged."""
    for name in ("k8s", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = subprocess.run(example.command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == example.output, done.stderr


@pytest.mark.parametrize("example", named(r"^docker"), ids=str)
def test_docker_knows_the_command_and_its_flags(example: Example) -> None:
    """Docker's help lists every flag that is Docker's own."""
    _, verb, *words = shlex.split(example.command.partition(" | ")[0])
    if verb == "buildx":  # the plugin is not always installed; from its documentation
        known = {"--platform", "-t", "--push"}
    else:
        text = subprocess.run(["docker", verb, "--help"], capture_output=True, text=True, check=True).stdout
        known = set(re.findall(r"(?<=\s)--?[a-z-]+", text))
    own = words[:1] if verb == "exec" else words  # the container's command has its own flags
    own = own[: own.index("whoami")] if verb == "run" else own
    assert {word for word in own if word.startswith("-")} <= known


def test_the_clean_up_of_lab_4_removes_every_tag(tmp_path: Path) -> None:
    """All tags that were built, tagged and pushed on its page."""
    (last,) = (example for example in TYPED if "docker rmi" in example.command)
    with trainee(tmp_path) as typist:
        for example in examples(DOCS / last.page):
            typist.type(example)
        chosen = last.command.split(" | ")[1]
        kept = subprocess.run(
            ["bash", "-c", chosen],
            input="\n".join([*typist.local, "debian:latest"]),
            capture_output=True,
            text=True,
        )
    assert set(kept.stdout.split()) == set(typist.local)
    assert len(typist.local) == 13


def test_a_key_is_made_where_git_does_not_see_it() -> None:
    """mkcert writes its files into an ignored folder."""
    (made,) = named(r"^mkcert ")
    files = re.findall(r"-file (\S+)", made.command)
    assert len(files) == 2
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout.split() == files


def test_the_deployment_is_read_line_by_line_as_it_stands() -> None:
    """The lines that lab 1 quotes are in the manifest, in that order."""
    manifest = (K8S / "whoami" / "deployment.yaml").read_text()
    table = LABS[0].read_text().partition("| in the file |")[2].partition("\n\n")[0]
    quotes = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(quotes) > 10
    place = 0
    for quote in quotes:
        assert quote in manifest[place:], quote
        place = manifest.index(quote, place)
