"""``whoami dns``, against a name server in a network namespace, where glibc's choice is visible."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.needs import require
from tests.readme import shown
from tests.server import PATIENCE
from whoami.cli import main
from whoami.dns.findings import look
from whoami.dns.report import sentence
from whoami.dns.resolv_conf import ResolvConf, parse_resolv_conf

DOMAIN = "ns1.svc.cluster.local"
NAME = f"kubia-headless.{DOMAIN}."
SEARCH = f"search {DOMAIN} svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n"
PODS = ["10.244.1.7", "10.244.1.11", "10.244.2.8"]
NAMESPACE = ["unshare", "--net", "--mount", *["--map-root-user"] * (os.geteuid() != 0)]
PLAN = {"addresses": ["10.244.1.10/24"], "resolv_conf": SEARCH, "records": {f"{NAME} A": PODS}, "shuffle": True}


class Ran:
    """A command's output, and the queries to the name server."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], *command: str) -> None:
        log = folder / "log"
        log.write_text("")
        (folder / "plan").write_text(json.dumps({**plan, "log": str(log)}))
        beside = [*NAMESPACE, sys.executable, "-m", "tests.dns_server", str(folder / "plan")]
        done = subprocess.run(
            [*beside, *command], capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.asked = log.read_text().splitlines()


Beside = Callable[..., Ran]


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    """Runs ``whoami dns`` (or another command) in a namespace set up by a plan."""
    require("namespaces", "ip")

    def run(*arguments: str, command: list[str] | None = None, **plan: Any) -> Ran:
        return Ran(
            tmp_path, {**PLAN, **plan}, *(command or [sys.executable, "-m", "whoami", "dns", *arguments])
        )

    return run


def table(out: str) -> dict[str, list[str]]:
    """The rows by address: the two counts, and the nearness."""
    rows = [
        re.split(r"\s{2,}", line) for line in out.splitlines() if re.match(r"[0-9a-f]*[.:][0-9a-f.:]+ ", line)
    ]
    return {row[0]: row[1:] for row in rows}


def test_a_shuffled_answer_and_a_library_that_sorts(beside: Beside) -> None:
    """The headless service's riddle: DNS spreads evenly, but one client always gets the same pod."""
    ran = beside("kubia-headless", "-n", "60")
    assert ran.status == 0
    first, *_ = ran.out.splitlines()
    assert first == f"tried   {NAME[:-1]}   3 addresses, TTL 30   (search list, ndots:5)"
    rows = table(ran.out)
    assert {address: row[1:] for address, row in rows.items()} == {
        "10.244.1.11": ["60", "31 bits in common with 10.244.1.10/24"],
        "10.244.1.7": ["–", "28"],
        "10.244.2.8": ["–", "not in my network"],
    }
    assert sum(int(row[0]) for row in rows.values()) == 60
    assert all(int(row[0]) > 5 for row in rows.values())
    assert (
        "DNS shuffles; this C library sorts (RFC 6724, rule 9): this client stays with 10.244.1.11." in ran.out
    )


def test_a_tie_is_left_as_dns_shuffled_it(beside: Beside) -> None:
    """Rule 9 prefers near addresses to far ones, but does not order the near ones."""
    pods = ["10.244.1.4", "10.244.1.5", "10.244.1.200"]
    ran = beside("kubia-headless", "-n", "40", addresses=["10.244.1.1/24"], records={f"{NAME} A": pods})
    assert table(ran.out)["10.244.1.200"][1:] == ["–", "24"]
    near = [table(ran.out)[pod] for pod in pods[:2]]
    assert sum(int(row[1]) for row in near) == 40
    assert all(int(row[1]) > 3 for row in near)
    assert re.search(
        r"sorts \(RFC 6724, rule 9\): this client stays with 10\.244\.1\.[45] or 10\.244\.1\.[45]\.", ran.out
    )


def test_a_library_that_has_no_reason_to_sort(beside: Beside) -> None:
    """Outside the client's own network no prefix counts, and requests spread."""
    ran = beside("kubia-headless", "-n", "60", addresses=["10.244.1.10/32"])
    assert {row[2] for row in table(ran.out).values()} <= {"not in my network", "no way there"}
    assert all(int(row[1]) > 5 for row in table(ran.out).values())
    assert "DNS shuffles, and this C library leaves it so: this client goes to any of them." in ran.out


def test_an_answer_that_is_not_shuffled(beside: Beside) -> None:
    """Then the library decides; if it keeps the order, every client takes the first."""
    ran = beside("kubia-headless", shuffle=False, addresses=["10.244.9.9/24"], records={f"{NAME} A": PODS})
    assert (
        "DNS keeps one order, and this C library leaves it so: every such client goes to 10.244.1.7." in ran.out
    )
    ran = beside("kubia-headless", shuffle=False)
    assert (
        "DNS keeps one order; this C library sorts (RFC 6724, rule 9): this client stays with 10.244.1.11."
        in ran.out
    )


def test_ipv6_and_both_families(beside: Beside) -> None:
    """A and AAAA are queried; the library prefers IPv6, and then the nearest."""
    both = {f"{NAME} A": PODS, f"{NAME} AAAA": ["fd00:1::7", "fd00:1::b", "fd00:2::8"]}
    ran = beside("kubia-headless", addresses=["10.244.1.10/24", "fd00:1::a/64"], records=both)
    rows = table(ran.out)
    assert rows["fd00:1::b"][1:] == ["30", "127 bits in common with fd00:1::a/64"]
    assert rows["10.244.1.11"][1:] == ["–", "31 bits in common with 10.244.1.10/24"]
    assert sum(int(row[0]) for address, row in rows.items() if ":" in address) == 30
    assert sum(int(row[0]) for address, row in rows.items() if "." in address) == 30
    assert "rule 9): this client stays with fd00:1::b." in ran.out


@pytest.mark.parametrize(
    ("name", "conf"),
    [
        ("kubia", SEARCH),
        ("kubia.ns1.svc", SEARCH),
        ("a.b.c.d.e.f", SEARCH),
        ("kubia.", SEARCH),
        ("kubia", "search one two\nsearch three\nnameserver 127.0.0.1\n"),
        ("kubia.ns1", "domain one.example\nnameserver 127.0.0.1\n"),
        ("kubia", "nameserver 127.0.0.1\noptions ndots:0\nsearch one two\n"),
        ("kubia.ns1", "nameserver 127.0.0.1\nsearch one .\noptions ndots:99\n"),
    ],
)
def test_names_are_tried_as_glibc_tries_them(beside: Beside, name: str, conf: str) -> None:
    """The same queries in the same order as the system's own getaddrinfo."""
    ask = [sys.executable, "-c", "import socket, sys; socket.getaddrinfo(sys.argv[1], 1)", name]
    glibc = beside(
        command=["sh", "-c", f"{' '.join(map(repr, ask))} 2>/dev/null"], resolv_conf=conf, records={}
    )
    expected = list(dict.fromkeys(line.split()[0] for line in glibc.asked))
    ran = beside("-n", "1", name, "--json", resolv_conf=conf, records={})
    tried = json.loads(ran.out)["tried"]
    assert [entry["name"] for entry in tried] == expected
    assert {entry["status"] for entry in tried} == {"NXDOMAIN"}
    assert (ran.status, json.loads(ran.out)["sentence"]) == (1, "No such name in any of these domains.")


def test_each_name_tried_is_shown_with_its_answer(beside: Beside) -> None:
    """Also names that do not exist, and a name without addresses."""
    records = {f"kubia.{DOMAIN}. TXT": ["x"], "kubia.cluster.local. A": ["10.0.0.1"]}
    ran = beside("kubia", records=records, broken=["kubia.svc.cluster.local."])
    assert ran.out.splitlines()[:3] == [
        "tried   kubia.ns1.svc.cluster.local   no addresses        (search list, ndots:5)",
        "tried   kubia.svc.cluster.local       SERVFAIL            (search list)",
        "tried   kubia.cluster.local           1 address, TTL 30   (search list)",
    ]
    assert "One address: DNS leaves no choice." in ran.out


def test_a_cname_is_followed(beside: Beside) -> None:
    """As for a service of type ExternalName."""
    ran = beside("out", records={f"out.{DOMAIN}. CNAME": ["db.example."], "db.example. A": ["192.0.2.5"]})
    assert "1 address by way of db.example, TTL 5" in ran.out


def test_services_by_srv(beside: Beside) -> None:
    """Named ports, and the name's own ports, each once."""
    targets = [f"0 33 8080 {host}.{NAME}" for host in ("10-244-1-11", "10-244-1-7", "10-244-2-8")]
    records = {
        f"{NAME} A": PODS,
        f"_http._tcp.{NAME} SRV": targets,
        f"{NAME} SRV": [*targets, f"0 33 9090 10-244-1-11.{NAME}"],
    }
    ran = beside("kubia-headless", records=records, shuffle=False)
    assert ran.out.splitlines()[-2:] == [
        "SRV _http._tcp  8080  10-244-1-11.kubia-headless…  (3)",
        "SRV any port  9090  10-244-1-11.kubia-headless…  (1)",
    ]
    ran = beside("_http._tcp.kubia-headless", records=records, shuffle=False)
    assert "SRV _http._tcp  8080  " in ran.out
    assert ran.status == 0


def test_the_readmes_example(beside: Beside) -> None:
    """All but how often DNS named each address first."""
    targets = [f"0 33 8080 {host}.{NAME}" for host in ("10-244-1-11", "10-244-1-7", "10-244-2-8")]
    records = {f"{NAME} A": PODS, f"_http._tcp.{NAME} SRV": targets}
    command, output = shown("whoami dns")
    ran = beside(*command.split()[2:], records=records)
    chance = re.compile(r"^([0-9.]+ +)[0-9]+", re.MULTILINE)
    assert [" ".join(line.split()) for line in chance.sub(r"\1", ran.out).splitlines()] == [
        " ".join(line.split()) for line in chance.sub(r"\1", output).splitlines()
    ]


def test_json_has_the_same_facts(beside: Beside) -> None:
    """One object, with every figure of the table."""
    said = json.loads(beside("--json", "-n", "12", "kubia-headless").out)
    assert said["tried"][0]["name"] == NAME
    assert said["tried"][0]["ttl"] == 30
    assert said["asked"] == {"dns": 12, "getaddrinfo": 12}
    nearest = next(row for row in said["addresses"] if row["address"] == "10.244.1.11")
    assert nearest.items() >= {"getaddrinfo": 12, "source": "10.244.1.10", "length": 24, "bits": 31}.items()
    assert sum(row["dns"] for row in said["addresses"]) == 12


def test_a_server_that_does_not_answer(beside: Beside) -> None:
    """It is named with its timeout, and no further name is tried, as in glibc."""
    conf = SEARCH.replace("ndots:5", "ndots:5 timeout:1 attempts:1")
    ran = beside("kubia-headless", resolv_conf=conf, silent=[NAME])
    assert ran.status == 1
    assert ran.out.splitlines() == [
        f"tried   {NAME[:-1]}   no answer from 127.0.0.1 in 1 s   (search list, ndots:5)",
        "No name server could tell (no answer from 127.0.0.1 in 1 s).",
    ]


def test_the_next_server_is_asked(beside: Beside) -> None:
    """If the first one is unreachable."""
    ran = beside("kubia-headless", "-n", "5", resolv_conf=f"nameserver 127.0.0.9\n{SEARCH}")
    assert "3 addresses" in ran.out


def test_another_server(beside: Beside) -> None:
    """--server replaces resolv.conf's server, which getaddrinfo cannot do."""
    conf = SEARCH.replace("127.0.0.1", "127.0.0.9")
    ran = beside("kubia-headless", "--server", "127.0.0.1:53", resolv_conf=conf)
    assert "first from getaddrinfo" not in ran.out
    assert "DNS shuffles; what this C library makes of it was not asked (--server)." in ran.out


def test_answers_are_bounded_and_harmless(beside: Beside) -> None:
    """A thousand addresses do not give a thousand rows, and no control byte reaches the terminal."""
    crowd = [f"10.1.{high}.{low}" for high in range(5) for low in range(200)]
    bad = "\\027[31mred\\007.example."
    ran = beside("crowd", "-n", "2", records={f"crowd.{DOMAIN}. CNAME": [bad], f"{bad} A": crowd})
    assert "1000 addresses by way of \\027[31mred\\007.example" in ran.out
    assert len(table(ran.out)) == 100
    assert "… and 900 more" in ran.out
    assert not [byte for byte in ran.out if ord(byte) < 32 and byte != "\n"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "NAME is missing"),
        (["10.0.0.1"], "'10.0.0.1' is not a name"),
        (["http://kubia"], "'http://kubia' is not a name"),
        (["a" * 64], "is not a name"),
        (["kubia", "-n", "0"], "'0' is not a valid count: give 1 to 1000"),
        (["kubia", "-n", "1001"], "'1001' is not a valid count: give 1 to 1000"),
        (["kubia", "--server", "dns"], "'dns' is not an address"),
        (["kubia", "--what"], "unknown flag --what"),
    ],
)
def test_a_bad_command_line_is_one_line(arguments: list[str], said: str) -> None:
    """With status 2."""
    out, err = io.StringIO(), io.StringIO()
    assert main(["dns", *arguments], {}, out, err) == 2
    assert said in err.getvalue()
    assert err.getvalue().count("\n") == 1
    assert not out.getvalue()


def test_variables_come_before_the_file() -> None:
    """LOCALDOMAIN and RES_OPTIONS, as in glibc; values beyond its limits are capped."""
    environ = {"LOCALDOMAIN": "other.example", "RES_OPTIONS": "ndots:3 timeout:99 attempts:x"}
    conf = parse_resolv_conf(SEARCH + "nameserver 1.1.1.1\n" * 5, "h.home.example", environ)
    assert conf == ResolvConf(("127.0.0.1", "1.1.1.1", "1.1.1.1"), ("other.example",), 3, 30, 2)
    assert parse_resolv_conf("", "h.home.example", {}) == ResolvConf(("127.0.0.1",), ("home.example",))


def test_all_of_it_has_a_time_limit() -> None:
    """However many names, servers and attempts there are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        conf = ResolvConf(("127.0.0.1",) * 3, ("one.example", "two.example"), timeout=30, attempts=5)
        start = time.monotonic()
        found = look("kubia", conf, silent.getsockname()[1], 1000, 0.3, getaddrinfo=True)
        assert time.monotonic() - start < PATIENCE
    assert found.out_of_time
    assert sentence(found) == "Out of time, before any server answered."


def test_the_server_never_loads_it() -> None:
    """Neither serving nor a health check loads it."""
    code = "import sys, whoami.cli, whoami.serve; sys.exit('dns' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE).returncode == 0
