"""PROXY headers: their content, their arrival, and invalid ones."""

import asyncio
import json
import random
import struct
from socket import AF_INET6, inet_aton, inet_pton

import pytest

from podkit.limits import Limits
from podkit.message import Announced, ProxiedTls
from podkit.pod.pod import Pod
from podkit.proxy_protocol.crc32c import crc32c
from podkit.proxy_protocol.header import LOCAL, read_header
from podkit.routes import FindRoute
from tests.http2 import PREFACE
from tests.inprocess import running, until
from whoami.app import build_routes
from whoami.health import Health
from whoami.who import Names

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IPV4 = inet_aton("203.0.113.7") + inet_aton("10.0.0.9") + struct.pack("!HH", 4711, 443)
IPV6 = inet_pton(AF_INET6, "2001:db8::1") + inet_pton(AF_INET6, "::1") + struct.pack("!HH", 4711, 443)
GET = b"GET /.who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 203.0.113.7 10.0.0.9 4711 443\r\n"


def value(kind: int, data: bytes) -> bytes:
    """A type, a length and a value."""
    return struct.pack("!BH", kind, len(data)) + data


def v2(kind: int = 0x11, block: bytes = IPV4, command: int = 0x21) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, kind, len(block)) + block


def with_checksum(header: bytes) -> bytes:
    """A header that ends with a CRC32C field gets its checksum."""
    return header[:-4] + crc32c(header).to_bytes(4, "big")


TLS = value(
    0x20,
    struct.pack("!BI", 7, 0)
    + value(0x21, b"TLSv1.3")
    + value(0x22, b"me")
    + value(0x23, b"TLS_AES_128_GCM_SHA256"),
)
ADDRESSES = ("203.0.113.7:4711", "10.0.0.9:443")
KNOWN = [
    (V1, Announced(1, "TCP4", *ADDRESSES)),
    (
        b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n",
        Announced(1, "TCP6", "[2001:db8::1]:4711", "[::1]:443"),
    ),
    (b"PROXY UNKNOWN\r\n", Announced(1, "UNKNOWN")),
    (b"PROXY UNKNOWN ffff::1 whatever 1 99999\r\n", Announced(1, "UNKNOWN")),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", Announced(1, "UNKNOWN")),
    (v2(), Announced(2, "TCP4", *ADDRESSES)),
    (v2(0x12), Announced(2, "UDP4", *ADDRESSES)),
    (v2(0x21, IPV6), Announced(2, "TCP6", "[2001:db8::1]:4711", "[::1]:443")),
    (
        v2(0x31, b"/run/a\x1b.sock".ljust(108, b"\0") + bytes(108)),
        Announced(2, "UNIX", "/run/a.sock"),
    ),
    (v2(0x00, b""), Announced(2, "UNKNOWN")),
    (v2(0x00, value(0x04, b"ignored")), Announced(2, "UNKNOWN")),
    (LOCAL, Announced(2, "LOCAL")),
    (v2(0x99, b"discarded", 0x20), Announced(2, "LOCAL")),
    (
        v2(0x11, IPV4 + value(1, b"h2") + value(2, b"a.example") + value(5, b"id") + value(0xEA, b"x") + TLS),
        Announced(
            *(2, "TCP4", *ADDRESSES, "h2", "a.example"),
            ProxiedTls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "me", True),
        ),
    ),
    (v2(0x11, IPV4 + value(0x20, bytes(5))), Announced(2, "TCP4", *ADDRESSES)),
    (
        v2(0x11, IPV4 + value(0x20, struct.pack("!BI", 7, 19))),
        Announced(2, "TCP4", *ADDRESSES, tls=ProxiedTls("", "", "", False)),
    ),
    (with_checksum(v2(0x11, IPV4 + value(3, bytes(4)))), Announced(2, "TCP4", *ADDRESSES)),
    (v2(0x11, IPV4 + value(4, bytes(4096 - 16 - 12 - 3))), Announced(2, "TCP4", *ADDRESSES)),
]
MALFORMED = [
    b"GET / HTTP/1.1\r\n",
    b"\r\nGET",
    b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
    b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    v2(command=0x22),
    v2(command=0x11),
    v2(0x13),
    v2(0x41),
    v2(0x11, IPV4[:-1]),
    v2(0x21, IPV4),
    v2(0x11, IPV4 + b"\1\0"),
    v2(0x11, IPV4 + b"\1\0\2h"),
    v2(0x11, IPV4 + value(0x20, bytes(4))),
    v2(0x11, IPV4 + value(0x20, b"\1\0\0\0\0\x21\0\x09a")),
    v2(0x11, IPV4 + value(3, bytes(4))),
    v2(0x11, IPV4 + value(3, b"")),
    v2(0x11, IPV4 + value(4, bytes(4096))),
]


def test_the_checksum_is_castagnolis() -> None:
    """RFC 3720's examples."""
    assert [crc32c(data) for data in (b"", bytes(32), b"\xff" * 32, bytes(range(32)))] == [
        *(0, 0x8A9136AA, 0x62A8AB43, 0x46DD794E)
    ]


@pytest.mark.parametrize(("header", "expected"), KNOWN, ids=range(len(KNOWN)))
def test_what_a_header_says(header: bytes, expected: Announced) -> None:
    """Complete, with trailing data, and not before it is complete."""
    assert read_header(header) == read_header(header + b"\x16\3\1") == (expected, len(header))
    assert not any(read_header(header[:size]) for size in range(len(header)))


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_none(data: bytes) -> None:
    """It is refused."""
    with pytest.raises(ValueError, match=r"^it(s| does not begin with a) PROXY "):
        read_header(data)


def test_no_bytes_do_any_harm() -> None:
    """Headers with changed bytes are parsed, refused or awaited."""
    drawn = random.Random(1)
    for _ in range(5000):
        header = bytearray(drawn.choice(KNOWN)[0])
        for _ in range(drawn.randint(1, 4)):
            header[drawn.randrange(len(header))] = drawn.randrange(256)
        try:
            found = read_header(bytes(header[: drawn.randint(0, len(header))]))
        except ValueError:
            continue
        assert found is None or found[1] <= len(header)


def find() -> FindRoute:
    """whoami's routes."""
    return build_routes(Pod(), Health(), names=Names()).find


@pytest.mark.parametrize("header", [V1, v2()])
@pytest.mark.parametrize("step", [1, 13, 1000])
async def test_the_client_is_the_announced_one(header: bytes, step: int) -> None:
    """However the bytes are split; RemoteAddr is its address, and /.who and /.hops show both."""
    for path in (b"/.who", b"/", b"/.hops"):
        async with running(find(), proxy_protocol=True) as server:
            reader, writer = await server.connect()
            port = writer.get_extra_info("sockname")[1]
            data = header + GET.replace(b"/.who", path)
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await asyncio.sleep(0)
            body = (await reader.read()).partition(b"\r\n\r\n")[2]
            writer.close()
            await server.let_go()
        if path == b"/.who":
            connection = json.loads(body)["connection"]
            assert connection["peer"] == f"127.0.0.1:{port}"
            assert connection["announced"]["client"] == "203.0.113.7:4711"
        elif path == b"/":
            assert b"\nRemoteAddr: 203.0.113.7:4711\n" in body
        else:
            lines = [b" ".join(line.split()) for line in body.splitlines()]
            assert any(line.startswith(b"claimed PROXY protocol client=203.0.113.7:4711") for line in lines)
            assert any(line.startswith(b"certain connection peer=127.0.0.1:%d" % port) for line in lines)


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", v2(0x31, bytes(216))])
async def test_without_an_address_it_is_the_peer(header: bytes) -> None:
    """LOCAL, UNKNOWN and UNIX have none."""
    async with running(find(), proxy_protocol=True) as server:
        assert b"\nRemoteAddr: 127.0.0.1:" in await server.ask(header + GET.replace(b"/.who", b"/"))


async def test_http2_behind_it() -> None:
    """The preface may follow in the same segment."""
    async with running(find(), proxy_protocol=True) as server:
        reader, writer = await server.connect()
        writer.write(V1 + PREFACE + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        assert (await reader.readexactly(9))[3] == 4
        writer.close()
        await server.let_go()


async def test_any_other_connection_is_closed(capsys: pytest.CaptureFixture[str]) -> None:
    """With one log line for many of them, which says what was wrong."""
    async with running(find(), proxy_protocol=True) as server:
        for _ in range(20):
            try:
                assert await server.ask(GET) == b""
            except ConnectionResetError:
                continue
        await server.let_go()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: connection from 127.0.0.1:")
    assert line.endswith(" closed: it does not begin with a PROXY header")


async def test_it_may_not_take_long(capsys: pytest.CaptureFixture[str]) -> None:
    """A client that sends nothing, or half a header, is disconnected."""
    limits = Limits(head_timeout=0.1, check_interval=0.02)
    for start in (b"", V1[:20]):
        async with running(find(), limits, proxy_protocol=True) as server:
            reader, writer = await server.connect()
            writer.write(start)
            assert await reader.read() == b""
            writer.close()
            await server.let_go()
            assert capsys.readouterr().err.endswith(" closed: its PROXY header takes too long\n")


async def test_a_probe_is_worth_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It connects and disconnects; one that stops within its header is logged."""
    async with running(find(), proxy_protocol=True) as server:
        _, writer = await server.connect()
        await until(lambda: len(server.server.connections))
        writer.close()
        await server.let_go()
        assert capsys.readouterr().err == ""
        _, writer = await server.connect()
        writer.write(v2()[:20])
        writer.write_eof()
        await until(lambda: capsys.readouterr().err.endswith(" closed: it ended within its PROXY header\n"))
        writer.close()
        await server.let_go()
