"""``/.hops``: what a request's headers claim about its path, and what is certain."""

import json
import time
from typing import Any

import pytest

from podkit.message import UNREADABLE, Announced, Client, ProxiedTls, Request, Response, Tls
from podkit.pod.pod import Pod
from whoami.hops import hops

POD = Pod()
PEER = "192.0.2.9:40000"


def ask(*headers: tuple[str, str], announced: Announced | None = None, tls: Tls | None = None) -> Response:
    """The answer to a request with these headers."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        fields.setdefault(name.encode(), []).append(value.encode("latin-1"))
    client = Client("w1-1f", PEER, 0.0, tls)
    client.announced = announced
    return hops(POD, "worker1", Request(UNREADABLE._replace(headers=fields), client, 3))


def lines(response: Response) -> list[str]:
    """The lines of the text, without the introduction and the pod."""
    assert isinstance(response.body, bytes)
    found = response.body.decode().splitlines()
    return [" ".join(line.split()) for line in found[2:] if line and " pod " not in line]


def read(*headers: tuple[str, str], **more: Any) -> dict[str, Any]:
    """The JSON."""
    response = ask(("Accept", "application/json"), *headers, **more)
    assert (b"Content-Type", b"application/json") in response.headers
    assert isinstance(response.body, bytes)
    return dict(json.loads(response.body))


def contradictions(*headers: tuple[str, str]) -> list[str]:
    """The contradictions found."""
    return list(read(*headers)["contradictions"])


CONNECTION = f"certain connection peer={PEER} protocol=HTTP/1.1 id=w1-1f request=3"


def test_a_connection_without_proxies() -> None:
    """Peer, protocol, number and pod are certain; as plain text that no browser treats as HTML."""
    response = ask()
    assert lines(response) == [CONNECTION]
    assert isinstance(response.body, bytes)
    assert f"pod         hostname={POD.hostname}".encode() in response.body
    assert response.body.rstrip().endswith(b"node=worker1")
    assert (b"Content-Type", b"text/plain; charset=utf-8") in response.headers
    assert (b"X-Content-Type-Options", b"nosniff") in response.headers


@pytest.mark.parametrize(
    ("via", "shown"),
    [
        ("1.1 a (x, (y, z), w), 1.0 b", ["1.1 a (x, (y, z), w)", "1.0 b"]),
        ('1.1 "a, b", 1.0 c', ['1.1 "a, b"', "1.0 c"]),
        ('1.1 a (b", \\), c), 1.0 d', ['1.1 a (b", \\), c)', "1.0 d"]),
        ("1.1 a (x, 1.0 b", ["1.1 a (x", "1.0 b"]),
        ('1.1 a "x, 1.0 b', ['1.1 a "x', "1.0 b"]),
        ("1.1 a), 1.0 b", ["1.1 a)", "1.0 b"]),
        (", ,", []),
    ],
)
def test_a_comma_in_a_comment_or_a_quoted_string_separates_nothing(via: str, shown: list[str]) -> None:
    """Unless it is unterminated: so nobody can hide the values of later proxies."""
    hops = read(("Via", via))["hops"]
    assert [hop["value"] for hop in hops if hop["source"].startswith("Via")] == shown


def test_a_chain_from_the_client_on() -> None:
    """Header by header, the client first; claims are marked."""
    response = ask(
        ("X-Forwarded-For", "203.0.113.7, 10.0.0.1"),
        ("X-Forwarded-For", "10.0.0.2"),
        ("X-Forwarded-Proto", "https"),
        ("Forwarded", 'for=203.0.113.7;proto=https;by=_a, For="[2001:db8::1]:4711";host="a.example:8443"'),
        ("Via", "1.1 edge (squid/5), 2.0 inner"),
        ("X-Real-Ip", "203.0.113.7"),
    )
    assert lines(response)[:12] == [
        "claimed Forwarded 1 of 2 for=203.0.113.7 proto=https by=_a",
        "claimed Forwarded 2 of 2 for=[2001:db8::1]:4711 host=a.example:8443",
        "claimed X-Forwarded-For 1 of 3 203.0.113.7",
        "claimed X-Forwarded-For 2 of 3 10.0.0.1",
        "claimed X-Forwarded-For 3 of 3 10.0.0.2",
        "claimed X-Real-Ip 203.0.113.7",
        "claimed X-Forwarded-Proto https",
        "claimed Via 1 of 2 1.1 edge (squid/5)",
        "claimed Via 2 of 2 2.0 inner",
        CONNECTION,
        "contradiction: Forwarded says for 203.0.113.7, 2001:db8::1, "
        "X-Forwarded-For says 203.0.113.7, 10.0.0.1, 10.0.0.2",
    ]


def test_tls_and_a_proxy_header() -> None:
    """The handshake's result is certain; a PROXY header is only its sender's claim."""
    told = read(
        announced=Announced(
            2,
            "TCP4",
            "203.0.113.7:5",
            "10.0.0.9:443",
            "h2",
            "a.example",
            ProxiedTls("TLSv1.3", "X", "me", True),
        ),
        tls=Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "h2", "a.example", (), ()),
    )
    proxy, connection, pod = told["hops"]
    assert proxy == {
        **{"source": "PROXY protocol", "certain": False, "version": 2, "family": "TCP4"},
        **{"client": "203.0.113.7:5", "destination": "10.0.0.9:443", "alpn": "h2"},
        **{"authority": "a.example"},
        "tls": {"version": "TLSv1.3", "cipher": "X", "common_name": "me", "is_verified": True},
    }
    expected = {"source": "connection", "certain": True, "peer": PEER, "tls": "TLSv1.3", "alpn": "h2"}
    assert expected.items() <= connection.items()
    assert (pod["certain"], pod["hostname"], pod["node"]) == (True, POD.hostname, "worker1")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")],
            "X-Forwarded-Proto says https, and also http",
        ),
        ([("X-Forwarded-Host", "a, b")], "X-Forwarded-Host says a, and also b"),
        (
            [("Forwarded", "for=192.0.2.1;proto=http"), ("X-Forwarded-Proto", "https")],
            "Forwarded says proto http, X-Forwarded-Proto says https",
        ),
        (
            [("Forwarded", "host=a"), ("X-Forwarded-Host", "b")],
            "Forwarded says host a, X-Forwarded-Host says b",
        ),
        (
            [("X-Real-Ip", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")],
            "X-Real-Ip says 192.0.2.1, which X-Forwarded-For does not name",
        ),
        (
            [("X-Forwarded-Port", "80"), ("X-Forwarded-Proto", "https")],
            "X-Forwarded-Port says 80, X-Forwarded-Proto says https",
        ),
        ([("X-Forwarded-For", "<b>")], "X-Forwarded-For names <b>, which is no address"),
        ([("Forwarded", "for=192.0.2.1;;proto=http")], "Forwarded can't be parsed from ';proto=http' on"),
        ([("Forwarded", 'for="192.0.2.1')], "Forwarded can't be parsed from 'for=\"192.0.2.1' on"),
        ([("Forwarded", "for=a;for=b")], "Forwarded has for twice in one element"),
    ],
)
def test_contradictions_are_said(headers: list[tuple[str, str]], expected: str) -> None:
    """And unparsable headers."""
    assert contradictions(*headers) == [expected]


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "https")],
        [
            ("Forwarded", 'for="192.0.2.1:1", for="[2001:db8::1]"'),
            ("X-Forwarded-For", "192.0.2.1, 2001:DB8:0::1"),
        ],
        [("Forwarded", "for=unknown"), ("X-Forwarded-For", "unknown")],
        [("X-Forwarded-For", "::ffff:192.0.2.1"), ("X-Real-Ip", "192.0.2.1")],
        [("X-Forwarded-Port", "443"), ("X-Forwarded-Proto", "https"), ("Forwarded", "proto=HTTPS,,for=a , ")],
    ],
)
def test_the_same_in_other_words_is_no_contradiction(headers: list[tuple[str, str]]) -> None:
    """Addresses are compared, not texts."""
    assert contradictions(*headers) == []


def test_what_is_hostile_stays_harmless() -> None:
    """Control characters are removed, values truncated, counts limited, and all of it is fast."""
    start = time.process_time()
    hostile = ("X-Forwarded-Host", "a\x1b[31mb\x7f\x9b")
    assert "claimed X-Forwarded-Host a[31mb" in " ".join(lines(ask(hostile))).replace("\ufffd", "")
    many = lines(ask(("X-Forwarded-For", "192.0.2.1," * 100_000)))
    assert len(many) == 32 + 1 + 2
    assert many[-2].startswith("contradiction: X-Forwarded-For is longer than 16384 characters")
    assert many[-1].endswith("values: the first 32 are shown")
    for text in (
        '"' + "\\a" * 400_000,
        "for=" + "," * 500_000,
        " " * 500_000 + "x",
        "a=" + "b" * 500_000,
        "a=b;" * 99_999,
    ):
        answer = ask(("Forwarded", text), ("X-Forwarded-For", text))
        assert isinstance(answer.body, bytes)
        assert len(answer.body) < 40_000
    assert time.process_time() - start < 2
