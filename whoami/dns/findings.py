"""The findings of one run of ``whoami dns``."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from dns.rdatatype import RdataType

from whoami.dns.prefix import Nearness, measure, own_networks
from whoami.dns.query import Answer, OutOfTime, Resolver
from whoami.dns.resolv_conf import ResolvConf

MOST_ADDRESSES = 100  # that are counted and shown
_PORT_NAMES = ("_http._tcp.", "_https._tcp.", "_grpc._tcp.")  # DNS cannot list a service's ports


@dataclass(frozen=True)
class Try:
    """A name that was tried, and its answer."""

    name: str
    why: str  # ``search list``, ``as given``, ``absolute``
    status: str  # an RCODE, or why there was no answer
    addresses: tuple[str, ...] = ()
    ttl: int | None = None  # seconds
    canonical: str = ""  # the target of a CNAME


@dataclass(frozen=True)
class Row:
    """An address, how often it came first, and its prefix match."""

    address: str
    from_dns: int
    from_getaddrinfo: int
    nearness: Nearness


@dataclass(frozen=True)
class Service:
    """SRV records with one name and one port."""

    name: str  # the query without the domain: ``_http._tcp``, or ``any port``
    port: int
    targets: tuple[str, ...]
    ttl: int | None


@dataclass
class Findings:
    """All findings, as plain values for JSON."""

    name: str
    conf: ResolvConf
    count: int  # how often to ask
    asked_dns: int = 0
    asked_getaddrinfo: int | None = None  # None: getaddrinfo was not used
    out_of_time: bool = False
    tried: list[Try] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    more: int = 0  # addresses that are not shown
    services: list[Service] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The findings as a JSON object."""
        rows = [
            {"address": row.address, "dns": row.from_dns, "getaddrinfo": row.from_getaddrinfo}
            | row.nearness._asdict()
            for row in self.rows
        ]
        return {
            "name": self.name,
            **self.conf._asdict(),
            "tried": [asdict(entry) for entry in self.tried],
            "asked": {"dns": self.asked_dns, "getaddrinfo": self.asked_getaddrinfo},
            "addresses": rows,
            "more": self.more,
            "services": [asdict(service) for service in self.services],
            "out_of_time": self.out_of_time,
        }


def look(name: str, conf: ResolvConf, port: int, count: int, seconds: float, getaddrinfo: bool) -> Findings:
    """Queries a name `count` times, in about `seconds` at most; optionally by getaddrinfo too."""
    found = Findings(name, conf, count)
    deadline = time.monotonic() + seconds
    resolver = Resolver(conf, port, deadline)
    dns_first: Counter[str] = Counter()
    known: dict[str, None] = {}
    try:
        answered = _try_names(found, resolver)
        if answered and answered.addresses:
            _count_dns(found, resolver, answered, dns_first, known)
        if answered:
            found.services = list(_services(resolver, answered.name))
    except OutOfTime:
        found.out_of_time = True
    library_first: Counter[str] = Counter()
    reachable = found.tried[-1:] and found.tried[-1].status in ("NOERROR", "NXDOMAIN")
    if getaddrinfo and reachable and not name.startswith("_") and not found.out_of_time:
        firsts = _ask_library(name, count, deadline)
        found.asked_getaddrinfo = len(firsts)
        found.out_of_time = len(firsts) < count
        library_first = Counter(first for first in firsts if first)
    addresses = list(dict.fromkeys([*known, *library_first]))
    found.more = max(0, len(addresses) - MOST_ADDRESSES)
    networks = own_networks()
    rows = [
        Row(address, dns_first[address], library_first[address], measure(address, networks))
        for address in addresses[:MOST_ADDRESSES]
    ]
    found.rows = sorted(rows, key=lambda row: (-row.from_getaddrinfo, -(row.nearness.bits or 0)))
    return found


def _try_names(found: Findings, resolver: Resolver) -> Try | None:
    """Tries the names until one has addresses (or services, for a name such as _http._tcp.kubia)."""
    kinds = [RdataType.SRV] if found.name.startswith("_") else [RdataType.A, RdataType.AAAA]
    for name, why in found.conf.names(found.name):
        answers: list[Answer] = []
        for kind in kinds:
            answers.append(resolver.ask(name, kind))
            if answers[-1].final:
                break
        records = tuple(record for answer in answers for record in answer.records)
        ttls = [answer.ttl for answer in answers if answer.ttl is not None]
        addresses = () if found.name.startswith("_") else records
        status, canonical = answers[-1].status, max(answer.canonical for answer in answers)
        entry = Try(name, why, status, addresses, min(ttls, default=None), canonical)
        found.tried.append(entry)
        if records:
            return entry
        if answers[-1].final and why == "search list" and status != "SERVFAIL":
            return None  # glibc gives up if a server did not answer, but continues after SERVFAIL
    return None


def _count_dns(
    found: Findings, resolver: Resolver, entry: Try, first: Counter[str], known: dict[str, None]
) -> None:
    known.update(dict.fromkeys(entry.addresses))
    kinds = [RdataType.A] * any("." in address for address in entry.addresses)
    kinds += [RdataType.AAAA] * any(":" in address for address in entry.addresses)
    for _ in range(found.count):
        for kind in kinds:
            records = resolver.ask(entry.name, kind).records
            first.update(records[:1])
            known.update(dict.fromkeys(records))
        found.asked_dns += 1


def _services(resolver: Resolver, name: str) -> Iterator[Service]:
    """The SRV records of the usual port names, and any others of the name itself (CoreDNS: every port)."""
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for prefix in ("",) if name.startswith("_") else (*_PORT_NAMES, ""):
        answer = resolver.ask(prefix + name, RdataType.SRV)
        label = ".".join((prefix + name).split(".")[:2]) if (prefix + name).startswith("_") else "any port"
        entries = sorted((int(port), target) for _, _, port, target in map(str.split, answer.records))
        for number, group in groupby(entries, key=lambda entry: entry[0]):
            targets = tuple(target for _, target in group)
            if (number, targets) not in seen:
                seen.add((number, targets))
                yield Service(label, number, targets, answer.ttl)


def _ask_library(name: str, count: int, deadline: float) -> list[str]:
    """The first address of each of `count` calls of getaddrinfo, empty on failure; fewer if time runs out."""
    firsts: list[str] = []

    def ask() -> None:
        for _ in range(count):
            if time.monotonic() > deadline:
                return
            try:
                entry = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0]
                firsts.append(str(entry[4][0]).partition("%")[0])
            except (OSError, UnicodeError):
                firsts.append("")

    # in a daemon thread, because one call may take a minute
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    return list(firsts)
