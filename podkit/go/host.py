"""Hosts in URLs and Host headers, parsed and written like Go's ``net/url`` and ``net/http``."""

import re
from ipaddress import IPv6Address
from typing import Final

from podkit.go.percent import unescape
from podkit.go.strconv import quote

_PLAIN: Final = re.compile(rb"[A-Za-z0-9.\-:]*")
_VALID: Final = re.compile(rb"[A-Za-z0-9!$%&()*+,\-.:;=\[\]'_~]*")
_USER: Final = re.compile(rb"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_NAME: Final = re.compile(
    rb"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:\]<>\"\x80-\xff]++|%25|%[89A-Fa-f][0-9A-Fa-f])*+",
)
_ZONE: Final = re.compile(rb"[A-Za-z0-9\-_.~!$&'()*+,;=:<>\"% \x80-\xff]+")
_PORT: Final = re.compile(rb"(?::[0-9]*)?")
_LONGEST_IPV6: Final = 45  # characters
_LONGEST_NAME: Final = 1000  # bytes of a non-ASCII host: Punycode takes quadratic time


def parse_authority(authority: bytes) -> bytes:
    """The unescaped host and port of an authority. ValueError where Go's ``parseAuthority`` fails."""
    user, _, host = authority.rpartition(b"@")
    unescape(user)
    if not _USER.fullmatch(user):
        raise ValueError("invalid userinfo")
    if b"[" in host:
        return _parse_ipv6(host)
    _, colon, port = host.rpartition(b":")
    if (colon and not _PORT.fullmatch(colon + port)) or not _NAME.fullmatch(host):
        raise ValueError("invalid host")
    return unescape(host)


def _parse_ipv6(host: bytes) -> bytes:
    literal, bracket, port = host.removeprefix(b"[").rpartition(b"]")
    address, percent, zone = literal.partition(b"%25")
    if not host.startswith(b"[") or not bracket or not _PORT.fullmatch(port):
        raise ValueError("invalid IP literal")
    if b"%" in address or len(address) > _LONGEST_IPV6:
        raise ValueError("invalid IP address")
    IPv6Address(address.decode("ascii"))
    zone = unescape(zone)
    if percent and not _ZONE.fullmatch(zone):
        raise ValueError("invalid IPv6 zone")
    return b"[%s%s%s]%s" % (address, percent[:1], zone, port)


def is_valid_host(host: bytes) -> bool:
    """Whether a Host header may have this value (``httpguts.ValidHostHeader``)."""
    return _VALID.fullmatch(host) is not None


def render_host(host: bytes) -> bytes:
    """A host as ``Request.Write`` sends it: in Punycode, IPv6 without a zone, empty if malformed.

    Raises ValueError, in Go's words, if it is not UTF-8.
    """
    if _PLAIN.fullmatch(host):
        return host
    if not host.isascii():
        host = _to_ascii(host)
    if not is_valid_host(host):
        return b""
    address, bracket, port = host.rpartition(b"]")
    if host.startswith(b"[") and b"%" in address:
        return address.rpartition(b"%")[0] + bracket + port
    return host


def _to_ascii(host: bytes) -> bytes:
    if len(host) > _LONGEST_NAME:
        return b""
    name, colon, port = host.rpartition(b":") if b":" in host else (host, b"", b"")
    return b".".join([_punycode(label) for label in name.split(b".")]) + colon + port


def _punycode(label: bytes) -> bytes:
    if label.isascii():
        return label
    try:
        return b"xn--" + label.decode().encode("punycode")
    except UnicodeDecodeError:
        shown = quote(label.decode("utf-8", "surrogateescape"))
        raise ValueError(f"idna: invalid label {shown}") from None
