"""The kernel's addresses over rtnetlink (``man 7 rtnetlink``); Linux only."""

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLM_F_REQUEST_DUMP: Final = 0x001 | 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_RTMGRP_IPV4_IFADDR: Final = 0x10
_RTMGRP_IPV6_IFADDR: Final = 0x100
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_IFADDRMSG: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index
_RTATTR: Final = struct.Struct("=HH")  # length, type
_PATIENCE: Final = 2.0  # seconds to wait for the kernel


def read_addresses() -> list[str]:
    """Every address of every interface, in kernel order: by interface, IPv4 before IPv6.

    Raises OSError if the system has no rtnetlink.
    """
    return [address for address, _ in read_networks()]


def read_networks() -> list[tuple[str, int]]:
    """The same addresses with their prefix lengths in bits. Raises OSError."""
    found: list[tuple[int, int, str, int]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.settimeout(_PATIENCE)
        request = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        size = _HEADER.size + len(request)
        channel.send(_HEADER.pack(size, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + request)
        for kind, payload in _messages(channel):
            if kind == _RTM_NEWADDR:
                family, length, _, _, interface = _IFADDRMSG.unpack_from(payload)
                address = _address(payload[_IFADDRMSG.size :])
                if address and family in (socket.AF_INET, socket.AF_INET6):
                    found.append((interface, family, socket.inet_ntop(family, address), length))
    # stable sort: keeps the kernel's order within an interface and family
    return [(text, length) for _, _, text, length in sorted(found, key=lambda entry: entry[:2])]


def subscribe() -> socket.socket:
    """A non-blocking socket that becomes readable when an address is added or removed. Raises OSError."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    channel.bind((0, _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
    return channel


def _messages(channel: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        data = channel.recv(1 << 16)
        while data:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", data, _HEADER.size)[0]
                raise OSError(number, os.strerror(number))
            yield kind, data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]


def _address(attributes: bytes) -> bytes:
    """The interface's own address; on a point-to-point link, IFA_ADDRESS is the peer's."""
    values: dict[int, bytes] = {}
    while len(attributes) >= _RTATTR.size:
        length, kind = _RTATTR.unpack_from(attributes)
        values[kind] = attributes[_RTATTR.size : length]
        attributes = attributes[max(_RTATTR.size, (length + 3) & ~3) :]
    return values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS) or b""
