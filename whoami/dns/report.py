"""The output of ``whoami dns``: a table, and a sentence that the observations support."""

from collections.abc import Iterator

from whoami.dns.findings import Findings, Row, Service, Try

_NEVER = "–"
_ENOUGH = 5  # answers needed for a sentence


def render(found: Findings) -> str:
    """The complete report as text."""
    return "\n".join([*_tried(found), *_addresses(found), sentence(found), *_services(found)])


def sentence(found: Findings) -> str:
    """Who chooses, DNS or the C library, as far as the answers show."""
    if not found.rows:
        return _nothing(found)
    dns = [row for row in found.rows if row.from_dns]
    library = [row for row in found.rows if row.from_getaddrinfo]
    many = len(found.rows) + found.more
    if not dns:
        return "DNS has no such name; getaddrinfo has it from elsewhere (/etc/hosts?)."
    if many == 1:
        return (
            "One address: DNS leaves no choice. Behind a cluster IP, the node picks a pod for each connection."
        )
    if found.asked_dns < _ENOUGH:
        return f"{many} addresses; to see who chooses, ask at least {_ENOUGH} times (-n)."
    order = "DNS shuffles" if _shuffled(dns) else "DNS keeps one order"
    if found.asked_getaddrinfo is None:
        return f"{order}; what this C library makes of it was not asked (--server)."
    if not library or found.asked_getaddrinfo < _ENOUGH:
        return f"{order}; getaddrinfo gave too few answers to tell more."
    names = _either(library)
    if len(library) == many:
        return f"{order}, and this C library leaves it so: this client goes to any of them."
    rule = _rule(found.rows, library)
    if rule:
        return f"{order}; this C library sorts ({rule}): this client stays with {names}."
    if _shuffled(dns):
        return f"{order}; this C library sorts: this client stays with {names}."
    if [row.address for row in library] == [row.address for row in dns]:
        return f"{order}, and this C library leaves it so: every such client goes to {names}."
    return f"{order}; this C library has another: this client stays with {names}."


def _shuffled(dns: list[Row]) -> bool:
    families = {":" in row.address for row in dns}
    return len(dns) > len(families)


def _rule(rows: list[Row], library: list[Row]) -> str:
    """The rule of RFC 6724 that explains which addresses come first; empty if none does.

    Other rules compare the families, so rule 9 must explain the choice within one family.
    """
    families = {":" in row.address for row in library}
    if len(families) > 1:
        return ""
    same = [row for row in rows if (":" in row.address) in families]
    if len(same) == len(library):
        return "RFC 6724, IPv6 before IPv4" if families == {True} else "RFC 6724, IPv4 before IPv6"
    best = max(row.nearness.bits or 0 for row in same)
    nearest = {row.address for row in same if (row.nearness.bits or 0) == best}
    return "RFC 6724, rule 9" if best and nearest == {row.address for row in library} else ""


def _either(rows: list[Row]) -> str:
    names = [row.address for row in rows[:4]]
    if len(rows) > len(names):
        return f"{', '.join(names)} and {len(rows) - len(names)} more"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _nothing(found: Findings) -> str:
    if found.services:
        return "These are services: look up the names on the right for addresses."
    if found.tried and found.tried[-1].status not in ("NOERROR", "NXDOMAIN"):
        return f"No name server could tell ({found.tried[-1].status})."
    if found.out_of_time:
        return "Out of time, before any server answered."
    if any(entry.status == "NOERROR" for entry in found.tried):
        return "The name exists, without addresses: a headless service has none while no pod is ready."
    return "No such name in any of these domains."


def _tried(found: Findings) -> Iterator[str]:
    width = max((len(entry.name) for entry in found.tried), default=0) - 1
    outcomes = [_outcome(entry) for entry in found.tried]
    broad = max(map(len, outcomes), default=0)
    for index, (entry, outcome) in enumerate(zip(found.tried, outcomes, strict=True)):
        why = entry.why if index else f"{entry.why}, ndots:{found.conf.ndots}"
        yield f"tried   {entry.name.rstrip('.'):{width}}   {outcome:{broad}}   ({why})"


def _outcome(entry: Try) -> str:
    number = len(entry.addresses)
    text = "no addresses" if entry.status == "NOERROR" else entry.status
    if number:
        text = "1 address" if number == 1 else f"{number} addresses"
    if entry.canonical:
        text += f" by way of {entry.canonical.rstrip('.')}"
    if entry.ttl is not None:
        text += f", TTL {entry.ttl}"
    return text


def _addresses(found: Findings) -> Iterator[str]:
    if not found.rows:
        return
    width = max(len(row.address) for row in found.rows)
    asked = found.asked_getaddrinfo is not None
    yield f"{'':{width}}   first from DNS{'   first from getaddrinfo' * asked}"
    said: set[str] = set()
    for row in found.rows:
        line = f"{row.address:{width}}   {row.from_dns or _NEVER:>14}"
        if asked:
            line += f"   {row.from_getaddrinfo or _NEVER:>22}"
        yield f"{line}      {_nearness(row, said)}"
    if found.more:
        yield f"… and {found.more:,} more"


def _nearness(row: Row, said: set[str]) -> str:
    source, length, bits = row.nearness
    if not source:
        return "no way there"
    if bits is None:
        return "not in my network"
    if source in said:
        return str(bits)
    said.add(source)
    return f"{bits} bits in common with {source}" + (f"/{length}" if length is not None else "")


def _services(found: Findings) -> Iterator[str]:
    for service in found.services:
        yield f"SRV {service.name}  {service.port}  {_target(service, found)}  ({len(service.targets)})"


def _target(service: Service, found: Findings) -> str:
    """The first target, abbreviated like the queried name."""
    target, given = service.targets[0].rstrip("."), found.name.rstrip(".")
    head, within, _ = target.partition(f".{given}.")
    return f"{head}.{given}…" if within else target
