"""The headers in which proxies describe the previous hops. Anyone can forge them.

``Forwarded`` is defined in RFC 7239, ``Via`` in RFC 9110 (7.6.3); the ``X-`` headers have no standard.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

from podkit.message import Headers

_MOST: Final = 32  # entries per header
_LONGEST: Final = 200  # characters of a value
_READ: Final = 16 << 10  # bytes of a header that are parsed
_PAIR: Final = re.compile(
    r"""[ \t]*(?:,[ \t]*)*(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]+)"""
    r"""|"(?P<quoted>(?:[^"\\]|\\.)*)")[ \t]*(?P<end>[;,]|$)"""
)
_MARK: Final = re.compile(r'\\.|[,"()]')
_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[^]]*)\]|(?P<plain>[^:]*))(?::(?P<port>[0-9]{1,5}))?")
# headers with one value each, and the corresponding parameter of Forwarded
SINGLE: Final = {
    "X-Real-Ip": "",
    "X-Forwarded-Host": "host",
    "X-Forwarded-Proto": "proto",
    "X-Forwarded-Port": "",
    "X-Forwarded-Server": "",
}


class Claim(NamedTuple):
    """One value of a header."""

    header: str
    number: int  # the value's position in the header, from 1
    of: int  # the number of values
    value: str
    parts: dict[str, str]  # of Forwarded: for, by, host, proto


def clean(text: str) -> str:
    """Removes non-printable characters and truncates a text for display."""
    shown = "".join(letter for letter in text[: 2 * _LONGEST] if letter.isprintable())
    return shown if len(shown) <= _LONGEST and len(text) <= 2 * _LONGEST else shown[: _LONGEST - 3] + "..."


def read_claims(headers: Headers) -> tuple[list[Claim], list[str]]:
    """All claims in the headers, the client first, and descriptions of unparsable ones."""
    claims: list[Claim] = []
    problems: list[str] = []
    for name in ("Forwarded", "X-Forwarded-For", *SINGLE, "Via"):
        values = [value.decode("utf-8", "replace") for value in headers.get(name.encode(), ())]
        if not values:
            continue
        text = ", ".join(values)
        if len(text) > _READ:
            problems.append(f"{name} is longer than {_READ} characters: the rest is ignored")
            text = text[:_READ]
        if name == "Forwarded":
            found = list(_read_forwarded(text, problems))
        else:
            found = [(word.strip(), {}) for word in _split(text) if word.strip()]
        if len(found) > _MOST:
            problems.append(f"{name} has {len(found)} values: the first {_MOST} are shown")
        claims += [
            Claim(name, number, len(found), clean(value), parts)
            for number, (value, parts) in enumerate(found[:_MOST], 1)
        ]
    return claims, problems


def _split(text: str) -> list[str]:
    """The elements of a list: commas in quoted strings and comments do not count, unless those never end."""
    commas: list[int] = []
    within: list[int] = []  # those inside an unterminated string or comment
    depth, is_quoted = 0, False
    for mark in _MARK.finditer(text):
        if mark[0] == ",":
            (within if depth or is_quoted else commas).append(mark.start())
        elif mark[0] == '"' and not depth:
            is_quoted = not is_quoted
        elif mark[0] in "()" and not is_quoted:
            depth = max(0, depth + (1 if mark[0] == "(" else -1))
        if not depth and not is_quoted:
            within.clear()
    ends = [*commas, *within, len(text)]
    return [text[start:end] for start, end in zip([0, *[comma + 1 for comma in ends]], ends, strict=False)]


def _read_forwarded(text: str, problems: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields each element and its parameters, up to a malformed one."""
    parts: dict[str, str] = {}
    text = text.strip(" \t,")
    position = begin = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            problems.append(f"Forwarded can't be parsed from {clean(text[position:].strip())!a} on")
            break
        name = pair["name"].lower()
        if name in parts:
            problems.append(f"Forwarded has {clean(name)} twice in one element")
        value = pair["token"] if pair["quoted"] is None else re.sub(r"\\(.)", r"\1", pair["quoted"])
        if name in ("for", "by", "host", "proto"):
            parts.setdefault(name, clean(value))
        position = pair.end()
        if pair["end"] != ";":
            yield text[begin:position].strip(" \t,"), parts
            parts, begin = {}, position
    else:
        if parts:
            yield text[begin:].strip(), parts


def normalize(text: str) -> str:
    """An address without its port, in canonical form; empty for anything else, such as ``unknown``."""
    found = _ADDRESS.fullmatch(text)
    host = (found["six"] or found["plain"]) if found else text  # an IPv6 address may lack brackets
    try:
        address = ip_address(host or "")
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def find_contradictions(claims: list[Claim]) -> Iterator[str]:
    """Describes where headers contradict each other."""
    by_header: dict[str, list[Claim]] = {}
    for claim in claims:
        by_header.setdefault(claim.header, []).append(claim)
    first = {name: found[0].value for name, found in by_header.items()}
    for name in SINGLE:
        values = list(dict.fromkeys(claim.value for claim in by_header.get(name, ())))
        if len(values) > 1:
            yield f"{name} says {', and also '.join(values)}"
    for claim in by_header.get("X-Forwarded-For", ()):
        if not normalize(claim.value) and claim.value.lower() != "unknown":
            yield f"X-Forwarded-For names {claim.value}, which is no address"
    chain = [normalize(claim.value) for claim in by_header.get("X-Forwarded-For", ())]
    forwarded = by_header.get("Forwarded", [])
    named = [normalize(claim.parts["for"]) for claim in forwarded if "for" in claim.parts]
    if chain and named and chain != named:
        yield f"Forwarded says for {_join(named)}, X-Forwarded-For says {_join(chain)}"
    for name, part in SINGLE.items():
        said = next((claim.parts[part] for claim in forwarded if part in claim.parts), "")
        if said and name in first and said.lower() != first[name].lower():
            yield f"Forwarded says {part} {said}, {name} says {first[name]}"
    real = first.get("X-Real-Ip", "")
    if real and chain and normalize(real) not in chain:
        yield f"X-Real-Ip says {real}, which X-Forwarded-For does not name"
    usual = {"80": "http", "443": "https"}.get(first.get("X-Forwarded-Port", ""))
    proto = first.get("X-Forwarded-Proto", usual)
    if usual and proto in ("http", "https") and proto != usual:
        yield f"X-Forwarded-Port says {first['X-Forwarded-Port']}, X-Forwarded-Proto says {proto}"


def _join(addresses: list[str]) -> str:
    return ", ".join(address or "unknown" for address in addresses)
