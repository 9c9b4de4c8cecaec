"""The command ``whoami dns NAME``."""

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

import dns.exception
import dns.inet
import dns.name

from podkit.process.flags import Program, Usage, flag, read_options, switch, word
from podkit.process.settings import parse_port
from whoami.dns.findings import look
from whoami.dns.report import render, sentence
from whoami.dns.resolv_conf import ResolvConf, parse_resolv_conf

_MOST_COUNT = 1000
_SECONDS = 30.0  # for the whole command
_PROGRAM = Program(
    "whoami dns",
    "[flags] NAME",
    "Show the names that the resolver tries, the addresses it gets, and the one that this client uses.",
    """\
The search list and ndots are those of /etc/resolv.conf.
The exit status is 0 if the name was found, 1 if not, 2 for a bad command line.""",
)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= _MOST_COUNT:
        raise ValueError(f"{text!r} is not a valid count: give 1 to {_MOST_COUNT}")
    return int(text)


def _server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, number = text, "53"
    if not dns.inet.is_address(text):
        address, _, number = text.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
    if not dns.inet.is_address(address):
        raise ValueError(f"{text!r} is not an address: give one such as 10.96.0.10 or [fd00::a]:5353")
    return address, parse_port(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line."""

    name: str = word("NAME", "a host or service name, as a client would write it")
    n: int = flag("30", _count, "N", "how often to ask")
    server: tuple[str, int] | None = flag(
        "", _server, "ADDRESS", "ask this name server, ADDRESS or ADDRESS:PORT, instead of getaddrinfo"
    )
    json: bool = switch("print one JSON object")


def run(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, resolv_conf: str) -> int:
    """Looks a name up with the configuration at `resolv_conf`; returns the exit status. Raises Usage."""
    options = read_options(_PROGRAM, Options, arguments, environ)
    if not options.name:
        raise Usage(2, "whoami dns: NAME is missing (see whoami dns --help)")
    _check(options.name)
    conf, server_port = _read(resolv_conf, environ), 53
    if options.server:
        address, server_port = options.server
        conf = conf._replace(servers=(address,))
    found = look(options.name, conf, server_port, options.n, _SECONDS, getaddrinfo=not options.server)
    as_json = found.as_dict() | {"sentence": sentence(found)}
    print(json.dumps(as_json) if options.json else render(found), file=stdout, flush=True)
    return 0 if found.rows or found.services else 1


def _read(path: str, environ: Mapping[str, str]) -> ResolvConf:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
    except OSError:
        text = ""  # glibc then uses 127.0.0.1
    return parse_resolv_conf(text, socket.gethostname(), environ)


def _check(name: str) -> None:
    """Raises Usage if `name` is not a DNS name."""
    try:
        dns.name.from_text(name)
        good = not dns.inet.is_address(name) and not set("/:@ ") & set(name) and name.strip(".")
    except (dns.exception.DNSException, UnicodeError):
        good = ""
    if not good:
        raise Usage(2, f"whoami dns: {name!r} is not a name: give one such as whoami-service")
