"""The resolver's configuration, parsed like glibc: ``man 5 resolv.conf``, glibc's resolv/res_init.c."""

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

_MOST_SERVERS = 3  # glibc's MAXNS; it ignores further ones
_MOST = {"ndots": 15, "timeout": 30, "attempts": 5}  # glibc's RES_MAXNDOTS, RES_MAXRETRANS, RES_MAXRETRY
_MOST_NAMES = 32  # glibc has no bound since 2.26


class ResolvConf(NamedTuple):
    """Which servers to query, and which names to try."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int = 1
    timeout: int = 5  # seconds
    attempts: int = 2

    def names(self, name: str) -> list[tuple[str, str]]:
        """The names to try, in order, each with the reason: glibc's __res_context_search.

        A name that ends in a dot, or has at least `ndots` dots, is tried unchanged first; others last.
        """
        if name.endswith("."):
            return [(name, "absolute")]
        listed = [
            (f"{name}.{domain.strip('.')}.", "search list") for domain in self.search if domain.strip(".")
        ]
        as_given = [(f"{name}.", "as given")]
        if name.count(".") >= self.ndots:
            return as_given + listed
        return listed + as_given


def parse_resolv_conf(text: str, hostname: str, environ: Mapping[str, str]) -> ResolvConf:
    """Parses the file and the variables LOCALDOMAIN and RES_OPTIONS; the last `domain` or `search` wins."""
    servers: list[str] = []
    search = hostname.partition(".")[2].split()
    options: list[str] = []
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values:
            servers.append(values[0])
        elif keyword == "domain" and values:
            search = values[:1]
        elif keyword == "search":
            search = values
        elif keyword == "options":
            options += values
    search = environ.get("LOCALDOMAIN", "").split() or search
    numbers: dict[str, int] = {}
    for option in options + environ.get("RES_OPTIONS", "").split():
        key, _, value = option.partition(":")
        if key in _MOST:
            with contextlib.suppress(ValueError):
                numbers[key] = min(max(int(value), 0 if key == "ndots" else 1), _MOST[key])
    return ResolvConf(tuple(servers[:_MOST_SERVERS]) or ("127.0.0.1",), tuple(search[:_MOST_NAMES]), **numbers)
