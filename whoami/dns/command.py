"""The command ``whoami dns NAME``."""

import json
import socket
from collections.abc import Mapping, Sequence
from typing import TextIO

import dns.exception
import dns.inet
import dns.name

from podkit.process.settings import Flags, Usage, port, show
from whoami.dns.findings import look
from whoami.dns.report import render, sentence
from whoami.dns.resolv_conf import ResolvConf, parse_resolv_conf

_MOST_COUNT = 1000
_SECONDS = 30.0  # for all of it
_VALUES = ("n", "server")  # the flags with a value
_DESCRIPTION = "Why this pod? The names that are tried, the addresses, and which of them this client takes."
_EPILOG = """\
The search list and ndots are those of /etc/resolv.conf.
exit status: 0 if the name was found, 1 if not, 2 for a bad command line
"""


def run(arguments: Sequence[str], environ: Mapping[str, str], stdout: TextIO, resolv_conf: str) -> int:
    """Look a name up as the file at `resolv_conf` says, and tell; the exit status. Raises Usage."""
    flags = Flags("whoami dns", _DESCRIPTION, _EPILOG)
    flags.value("n", 30, _count, "N", "how often to ask (30)")
    flags.value(
        "server", None, _server, "ADDRESS", "ask this name server, ADDRESS or ADDRESS:PORT; not getaddrinfo"
    )
    flags.switch("json", False, "one JSON object")
    words = list(arguments)
    before = ["", *words]
    free = [at for at, word in enumerate(words) if word[:1] != "-" and before[at].lstrip("-") not in _VALUES]
    name = words.pop(free[0]) if free else ""
    options = flags.parse(words)
    if not name:
        raise Usage(2, "whoami dns: a NAME is needed (see whoami dns --help)")
    _check(name)
    conf, server_port = _read(resolv_conf, environ), 53
    if options.server:
        address, server_port = options.server
        conf = conf._replace(servers=(address,))
    found = look(name, conf, server_port, options.n, _SECONDS, getaddrinfo=not options.server)
    if options.json:
        show(stdout, json.dumps(found.as_dict() | {"sentence": sentence(found)}))
    else:
        show(stdout, render(found))
    return 0 if found.rows or found.services else 1


def _read(path: str, environ: Mapping[str, str]) -> ResolvConf:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
    except OSError:
        text = ""  # glibc then asks 127.0.0.1
    return parse_resolv_conf(text, socket.gethostname(), environ)


def _check(name: str) -> None:
    """Raises Usage for what is no name in DNS."""
    try:
        dns.name.from_text(name)
        good = not dns.inet.is_address(name) and not set("/:@ ") & set(name) and name.strip(".")
    except (dns.exception.DNSException, UnicodeError):
        good = ""
    if not good:
        raise Usage(2, f"whoami dns: {name!r} is not a name: give one such as whoami-service")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= _MOST_COUNT:
        raise ValueError(f"{text!r} is not a number of times: give 1 to {_MOST_COUNT}")
    return int(text)


def _server(text: str) -> tuple[str, int]:
    address, number = text, "53"
    if not dns.inet.is_address(text):
        address, _, number = text.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
    if not dns.inet.is_address(address):
        raise ValueError(f"{text!r} is not an address: give one such as 10.96.0.10 or [fd00::a]:5353")
    return address, port(number)
