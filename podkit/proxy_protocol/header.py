"""PROXY headers, versions 1 and 2: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt."""

import re
import struct
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from podkit.message import Announced, ProxiedTls, render_address
from podkit.proxy_protocol.crc32c import crc32c

_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107  # bytes, including the line end
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_LONGEST: Final = 4096  # bytes; the format allows 64 KiB, which nobody uses
_TEXT_LONGEST: Final = 256  # characters kept of a text
LOCAL: Final = _V2 + b"\x20\0\0\0"  # the sender speaks for itself, as in a health check

_LINE: Final = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
# the family and address size, by the family byte
_FAMILIES: Final = {
    0x00: ("UNKNOWN", 0),
    0x11: ("TCP4", 12),
    0x12: ("UDP4", 12),
    0x21: ("TCP6", 36),
    0x22: ("UDP6", 36),
    0x31: ("UNIX", 216),
    0x32: ("UNIX", 216),
}
_ALPN, _AUTHORITY, _CRC32C, _TLS = 0x01, 0x02, 0x03, 0x20
_TLS_VERSION, _TLS_COMMON_NAME, _TLS_CIPHER = 0x21, 0x22, 0x23
_HAS_CERTIFICATE: Final = 0x02 | 0x04  # on this connection, or in the resumed session


def read_header(data: bytes) -> tuple[Announced, int] | None:
    """The content and length of the header at the start of `data`; None if it is incomplete.

    Raises ValueError if there is no header or it is malformed.
    """
    if data[: len(_V2)] == _V2[: len(data)]:
        return _read_v2(data)
    if data[: len(_V1)] == _V1[: len(data)]:
        return _read_v1(data)
    raise ValueError("it does not begin with a PROXY header")


def _read_v1(data: bytes) -> tuple[Announced, int] | None:
    end = data.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise ValueError("its PROXY line is not terminated")
        return None
    line = data[: end + 2]
    if re.match(rb"PROXY UNKNOWN[ \r]", line):  # the rest is ignored
        return Announced(1, "UNKNOWN"), len(line)
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("its PROXY line is malformed")
    family, ports = found[1].decode(), (int(found[4]), int(found[5]))
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        addresses = [kind(found[n].decode("latin-1")) for n in (2, 3)]
    except AddressValueError:
        raise ValueError("its PROXY line has an invalid address") from None
    if max(ports) > 0xFFFF or any("%" in str(address) for address in addresses):
        raise ValueError("its PROXY line has an invalid address")
    source, destination = (render_address((str(a), p)) for a, p in zip(addresses, ports, strict=True))
    return Announced(1, family, source, destination), len(line)


def _read_v2(data: bytes) -> tuple[Announced, int] | None:
    if len(data) < len(LOCAL):
        return None
    command, kind, size = struct.unpack_from("!BBH", data, len(_V2))
    start, end = len(LOCAL), len(LOCAL) + size
    if command not in (0x20, 0x21):
        raise ValueError("its PROXY header has an unknown version or command")
    if end > _V2_LONGEST:
        raise ValueError(f"its PROXY header is longer than {_V2_LONGEST} bytes")
    if len(data) < end:
        return None
    if command == 0x20:
        return Announced(2, "LOCAL"), end
    if kind not in _FAMILIES:
        raise ValueError("its PROXY header has an unknown address family")
    family, size = _FAMILIES[kind]
    if start + size > end:
        raise ValueError("its PROXY header is too short for its addresses")
    source, destination = _read_addresses(family, data[start : start + size])
    header = data[:end]
    values = dict(_read_values(header, start + size))
    if _CRC32C in values:
        _verify(header, values[_CRC32C])
    return Announced(
        2,
        family,
        source,
        destination,
        _text(values.get(_ALPN, b"")),
        _text(values.get(_AUTHORITY, b"")),
        _read_tls(values[_TLS]) if _TLS in values else None,
    ), end


def _read_addresses(family: str, data: bytes) -> tuple[str, str]:
    if family == "UNKNOWN":
        return "", ""
    if family == "UNIX":
        return _text(data[:108].partition(b"\0")[0]), _text(data[108:].partition(b"\0")[0])
    size = 4 if family.endswith("4") else 16
    kind = IPv4Address if size == 4 else IPv6Address
    source, destination = (str(kind(data[n : n + size])) for n in (0, size))
    ports = struct.unpack_from("!HH", data, 2 * size)
    return render_address((source, ports[0])), render_address((destination, ports[1]))


def _read_values(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """The types and values from `start` on."""
    while start < len(data):
        if start + 3 > len(data):
            raise ValueError("its PROXY header is truncated")
        kind, size = struct.unpack_from("!BH", data, start)
        start, end = start + 3, start + 3 + size
        if end > len(data):
            raise ValueError("its PROXY header is truncated")
        yield kind, data[start:end]
        start = end


def _verify(header: bytes, checksum: bytes) -> None:
    """Verifies the checksum, which is computed with zeros in its own field."""
    before, field, behind = header.partition(bytes((_CRC32C, 0, 4)) + checksum)
    if len(checksum) != 4 or crc32c(before + field[:3] + bytes(4) + behind) != int.from_bytes(checksum, "big"):
        raise ValueError("its PROXY header has a wrong checksum")


def _read_tls(data: bytes) -> ProxiedTls | None:
    """None if the client connected without TLS."""
    if len(data) < 5:
        raise ValueError("its PROXY header is truncated")
    flags, verification = struct.unpack_from("!BI", data)
    values = dict(_read_values(data, 5)) if flags & 1 else {}
    if not flags & 1:
        return None
    return ProxiedTls(
        _text(values.get(_TLS_VERSION, b"")),
        _text(values.get(_TLS_CIPHER, b"")),
        _text(values.get(_TLS_COMMON_NAME, b"")),
        bool(flags & _HAS_CERTIFICATE) and not verification,
    )


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable())[:_TEXT_LONGEST]
