"""What rule 9 of RFC 6724 compares: the bits that an address has in common with the client's own."""

import contextlib
import ipaddress
import socket
from typing import NamedTuple

from podkit.pod.netlink import read_networks

_DISCARD = 9  # a port to connect a UDP socket to: nothing is sent


class Nearness(NamedTuple):
    """How near an address is."""

    source: str = ""  # the client's own address on the way there; empty where there is no way
    length: int | None = None  # of its network's prefix
    bits: int | None = None  # in common; None for an IPv4 address outside of the network, which counts nothing


def measure(address: str, networks: dict[str, int]) -> Nearness:
    """The nearness of an address as glibc counts it, given the own addresses and their prefixes' lengths."""
    source = _source(address)
    if not source:
        return Nearness()
    length = networks.get(source)
    theirs, ours = ipaddress.ip_address(address), ipaddress.ip_address(source)
    bits = theirs.max_prefixlen - (int(theirs) ^ int(ours)).bit_length()
    if theirs.version == 4 and length is not None and bits < length:  # glibc looks at the mask for IPv4 only
        return Nearness(source, length)
    return Nearness(source, length, bits)


def own_networks() -> dict[str, int]:
    """The own addresses and the length of their prefixes; empty where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError):
        return dict(read_networks())
    return {}


def _source(address: str) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.connect((address, _DISCARD))
        return str(channel.getsockname()[0]).partition("%")[0]
    return ""
