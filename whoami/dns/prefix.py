"""The comparison in rule 9 of RFC 6724: the bits that an address shares with the client's own."""

import contextlib
import ipaddress
import socket
from typing import NamedTuple

from podkit.pod.netlink import read_networks

_DISCARD = 9  # a port to connect a UDP socket to; nothing is sent


class Nearness(NamedTuple):
    """How well an address matches the client's own."""

    source: str = ""  # the client's own address on that route; empty if there is no route
    length: int | None = None  # of its network's prefix
    bits: int | None = None  # in common; None for an IPv4 address outside the network, which does not count


def measure(address: str, networks: dict[str, int]) -> Nearness:
    """The match of an address by glibc's rules, given the client's addresses and their prefix lengths."""
    source = _source(address)
    if not source:
        return Nearness()
    length = networks.get(source)
    theirs, ours = ipaddress.ip_address(address), ipaddress.ip_address(source)
    bits = theirs.max_prefixlen - (int(theirs) ^ int(ours)).bit_length()
    if theirs.version == 4 and length is not None and bits < length:  # glibc checks the netmask for IPv4 only
        return Nearness(source, length)
    return Nearness(source, length, bits)


def own_networks() -> dict[str, int]:
    """The client's addresses and their prefix lengths; empty if the system does not provide them."""
    with contextlib.suppress(OSError, AttributeError):
        return dict(read_networks())
    return {}


def _source(address: str) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.connect((address, _DISCARD))
        return str(channel.getsockname()[0]).partition("%")[0]
    return ""
