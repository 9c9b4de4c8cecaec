"""A TLS connection in process, from the client's bytes to the protocol above, on a fake transport."""

import asyncio
import gc
import hmac
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from podkit.limits import Limits
from podkit.message import Response, Tls
from podkit.routes import Route, Routes
from podkit.server import Server
from podkit.tls.certificates import Certificates
from podkit.tls.ciphers import TLS_1_2, TLS_1_3, iana_name
from podkit.tls.handshake import TlsProtocolFactory
from tests.certificates import Identity, client_context, issue

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = [TLS12, TLS13]
ROOT = issue("root", is_authority=True)
MIDDLE = issue("middle", ROOT, is_authority=True)
SERVER = issue("localhost", ROOT)
PLAIN = issue("plain", ROOT)
ROUTES = Routes({b"/": Route(lambda request: Response())})
CHAINED = issue("chained", MIDDLE, send_issuer=True)


class Above(asyncio.Protocol):
    """Records what a protocol above receives."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is finished."""
        self.transport = cast(asyncio.Transport, transport)
        self.tls: Tls = transport.get_extra_info("tls")

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self.pieces.append(data)

    def eof_received(self) -> bool:
        """The client has half-closed."""
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is lost."""
        self.lost = True


class Wire(asyncio.Transport):
    """A socket transport controlled by the test."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000), "socket": "the socket"})
        self.sent = b""
        self.reading, self.closed, self.aborted, self.ended = True, False, False, False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        """Bytes to the client."""
        self.sent += data

    def take(self) -> bytes:
        """What was written since the last call."""
        sent, self.sent = self.sent, b""
        return sent

    def get_write_buffer_size(self) -> int:
        """The bytes that the client has not taken."""
        return len(self.sent)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switches the protocol."""
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Pauses delivery."""
        self.reading = False

    def resume_reading(self) -> None:
        """Resumes delivery."""
        self.reading = True

    def can_write_eof(self) -> bool:
        """Like a TCP socket."""
        return True

    def write_eof(self) -> None:
        """The server half-closes."""
        self.ended = True

    def is_closing(self) -> bool:
        """Whether the server is closing it."""
        return self.closed

    def close(self) -> None:
        """The server closes."""
        self.closed = True

    def abort(self) -> None:
        """The server resets."""
        self.closed = self.aborted = True


class Peer:
    """A client on Python's own TLS, and the server's side of its connection."""

    def __init__(
        self, factory: TlsProtocolFactory, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> None:
        self.wire = Wire()
        self.wire.protocol = factory()
        self.wire.protocol.connection_made(self.wire)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, session=session, server_hostname="a.example")

    def attempt(self, action: Callable[[], bytes | None]) -> bytes:
        """Runs an operation that may need bytes from the server; sends pending output."""
        self.incoming.write(self.wire.take())
        try:
            return action() or b""
        except ssl.SSLWantReadError:
            return b""
        finally:
            if self.outgoing.pending:
                self.wire.protocol.data_received(self.outgoing.read())

    def shake_hands(self) -> "Peer":
        """The whole handshake; an alert raises ssl.SSLError."""
        for _ in range(4):
            self.attempt(self.tls.do_handshake)
        return self

    @property
    def above(self) -> Above:
        """The protocol above."""
        above = self.wire.protocol.get_protocol()
        assert isinstance(above, Above)
        return above

    def records(self, *pieces: bytes) -> bytes:
        """A record for each piece, not sent."""
        for piece in pieces:
            self.tls.write(piece)
        return self.outgoing.read()

    def read(self) -> bytes:
        """What the server has sent."""
        return self.attempt(lambda: self.tls.read(1 << 20))

    def leave(self) -> None:
        """Disconnects."""
        self.wire.protocol.connection_lost(None)


Build = Callable[..., TlsProtocolFactory]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a factory of connections; its server has the given limits."""

    def build_factory(
        limits: Limits | None = None, client_ca: Identity | None = None, **options: float
    ) -> TlsProtocolFactory:
        folder = Path(mkdtemp(dir=tmp_path))
        SERVER.write(folder)
        authorities = folder / "ca.crt"
        if client_ca:
            authorities.write_bytes(client_ca.pem)
        cert, key, ca = str(folder / "tls.crt"), str(folder / "tls.key"), str(authorities)
        certificates = Certificates(cert, key, ca if client_ca else "", **options)
        # for tests that give the loop no turn
        limits = limits or Limits(turn_handshakes=100)
        if limits.turn_time:
            limits = replace(limits, turn_time=60)
        return TlsProtocolFactory(Server(ROUTES.find, limits=limits), certificates, Above)

    return build_factory


def trust(authority: Identity, folder: Path) -> None:
    """Replaces the client authorities that `build` wrote into a folder."""
    next(folder.rglob("ca.crt")).write_bytes(authority.pem)


def held(factory: TlsProtocolFactory) -> tuple[int, int]:
    """The bytes charged to the server's budgets."""
    return factory.server.room.used, factory.server.budget.used


async def turns(count: int = 500) -> None:
    """Runs the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


# facts


@pytest.mark.parametrize(
    ("version", "name", "cipher"),
    [
        (TLS13, "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        (TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ],
)
async def test_the_protocol_above_learns_what_was_agreed_on(
    build: Build, version: ssl.TLSVersion, name: str, cipher: str
) -> None:
    """By IANA's names, with the suite that Go prefers, and the client's certificates in DER."""
    context = client_context(CHAINED, version, ("h2", "http/1.1"))
    above = Peer(build(), context).shake_hands().above
    encoded = tuple(ssl.PEM_cert_to_DER_cert(each.pem.decode()) for each in (CHAINED, MIDDLE))
    assert above.tls == Tls(name, cipher, "h2", "a.example", ("CN=chained", "CN=middle"), encoded)
    assert above.transport.get_extra_info("peername") == ("192.0.2.1", 40000)
    assert above.transport.get_extra_info("socket") == "the socket"


async def test_nothing_is_made_up(build: Build) -> None:
    """Without a protocol or certificate, the facts are empty."""
    assert Peer(build(), client_context()).shake_hands().above.tls[2:] == ("", "a.example", (), ())


async def test_each_suite_has_a_name_of_iana(build: Build) -> None:
    """For all that OpenSSL may choose."""
    offered = SSL.Connection(build().certificates.context()).get_cipher_list()
    assert offered == [*TLS_1_3, *TLS_1_2]
    assert [iana_name(name) for name in offered] == [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    ]


class OpenSslPeer:
    """A client on OpenSSL, which offers more than Python's."""

    def __init__(
        self, factory: TlsProtocolFactory, identity: Identity, newest: int = SSL.TLS1_3_VERSION
    ) -> None:
        self.wire = Wire()
        self.wire.protocol = factory()
        self.wire.protocol.connection_made(self.wire)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(newest)
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
        self.tls = SSL.Connection(context)
        self.tls.set_connect_state()

    def shake_hands(self, rounds: int = 4) -> "OpenSslPeer":
        """A handshake, the first or another."""
        for _ in range(rounds):
            self.receive()
            with suppress(SSL.Error):
                self.tls.do_handshake()
            with suppress(SSL.WantReadError):
                self.wire.protocol.data_received(self.tls.bio_read(1 << 20))
        return self

    def receive(self) -> None:
        """Takes what the server has sent."""
        if self.wire.sent:
            self.tls.bio_write(self.wire.take())


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_the_clients_authority_is_not_sent(build: Build, newest: int) -> None:
    """The server sends only the chain in its own file."""
    peer = OpenSslPeer(build(client_ca=ROOT), PLAIN, newest).shake_hands()
    assert peer.tls.get_peer_cert_chain(as_cryptography=True) == [SERVER.certificate]


@pytest.mark.parametrize("offered", [("http/1.0",), ("spdy/3", "h3")])
async def test_no_protocol_in_common_is_refused(build: Build, offered: tuple[str, ...]) -> None:
    """By the appropriate alert, as in Go; nothing is kept."""
    factory = build()
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        Peer(factory, client_context(alpn=offered)).shake_hands()
    peer = Peer(factory, client_context(alpn=("http/1.0", "http/1.1"))).shake_hands()
    assert peer.above.tls.alpn == "http/1.1"


# sessions


def resumed(factory: TlsProtocolFactory, context: ssl.SSLContext, session: ssl.SSLSession | None) -> Peer:
    """A connection that offers a session, and gets one for the next."""
    peer = Peer(factory, context, session).shake_hands()
    peer.read()
    return peer


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("identity", "shown", "strict"),
    [
        (None, (), False),
        (PLAIN, ("CN=plain",), False),
        (PLAIN, ("CN=plain",), True),
        (CHAINED, ("CN=chained", "CN=middle"), False),
        (CHAINED, ("CN=chained", "CN=middle"), True),
    ],
)
async def test_a_session_is_resumed_with_all_that_the_client_showed(
    build: Build, version: ssl.TLSVersion, identity: Identity | None, shown: tuple[str, ...], strict: bool
) -> None:
    """Repeatedly, and with newly negotiated values."""
    factory = build(client_ca=ROOT if strict else None)
    context = client_context(identity, version, ("http/1.1",))
    first = Peer(factory, context).shake_hands()
    session = None
    for round in range(3):
        peer = resumed(factory, context, session)
        assert peer.tls.session_reused == (round > 0)
        assert peer.above.tls == first.above.tls
        assert peer.above.tls.subjects == shown
        session = peer.tls.session


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_remembered_of_clients_has_a_bound(build: Build, version: ssl.TLSVersion) -> None:
    """A client whose chain was dropped still shows its own certificate."""
    factory = build()
    context = client_context(CHAINED, version)
    session = resumed(factory, context, None).tls.session
    for number in range(400):
        factory.chains.remember((b"%d" % number, bytes(4096)))
    assert resumed(factory, context, session).above.tls.subjects == ("CN=chained",)
    assert sum(len(b"".join(chain)) for chain in vars(factory.chains)["_chains"].values()) <= 256 << 10


@pytest.mark.parametrize("version", VERSIONS)
async def test_tickets_of_an_old_certificate_are_void(
    build: Build, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """So are those with expired keys."""
    factory = build(client_ca=ROOT, recheck=0.0)
    context = client_context(PLAIN, version)
    session = resumed(factory, context, None).tls.session
    assert resumed(factory, context, session).tls.session_reused
    trust(issue("other", is_authority=True), tmp_path)
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
        resumed(factory, context, session)

    factory = build(recheck=0.0, ticket_keys_live=0.0)
    session = resumed(factory, context, None).tls.session
    assert not resumed(factory, context, session).tls.session_reused


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_expired_certificate_resumes_no_session(build: Build, version: ssl.TLSVersion) -> None:
    """If clients must be verified; otherwise it is shown."""
    soon = datetime.now(UTC) + timedelta(seconds=2)
    context = client_context(issue("short", ROOT, end=soon), version)
    strict, lenient = build(client_ca=ROOT), build()
    sessions = [resumed(factory, context, None).tls.session for factory in (strict, lenient)]
    await asyncio.sleep((soon - datetime.now(UTC)).total_seconds())
    assert resumed(lenient, context, sessions[1]).above.tls.subjects == ("CN=short",)
    peer = Peer(strict, context, sessions[0]).shake_hands()
    assert peer.wire.ended
    assert not hasattr(peer.wire.protocol, "get_protocol")


# bounds


async def test_a_connection_without_room_is_closed(build: Build) -> None:
    """Before anything is allocated for it; returned room serves the next."""
    cost = Limits().tls_cost + Limits().connection_cost
    factory = build(Limits(connections=2 * cost))
    first, second, third = (Peer(factory, client_context()) for _ in range(3))
    assert [peer.wire.closed for peer in (first, second, third)] == [False, False, True]
    assert factory.server.room.used == 2 * cost
    third.shake_hands()
    assert not third.wire.sent
    third.leave()
    first.leave()
    assert Peer(factory, client_context()).shake_hands().above.tls.version == "TLSv1.3"
    # the stand-in for HTTP here is not one of the server's connections
    assert factory.server.room.used == 2 * cost - Limits().connection_cost


async def test_all_is_given_back(build: Build) -> None:
    """A handshake is charged for OpenSSL's memory, certificates while they are shown."""
    factory = build()
    waiting = Peer(factory, client_context(CHAINED))
    waiting.attempt(waiting.tls.do_handshake)
    during = held(factory)[1]
    waiting.shake_hands()
    assert during > held(factory)[1] > 1000
    anonymous = Peer(factory, client_context()).shake_hands()
    waiting.leave()
    assert held(factory) == (Limits().tls_cost, 0)
    anonymous.leave()
    assert held(factory) == (0, 0)


async def test_a_handshake_may_not_take_all_memory(build: Build) -> None:
    """Without budget it is refused."""
    factory = build(Limits(budget=40_000))
    first, second = Peer(factory, client_context()), Peer(factory, client_context())
    for peer in (first, second):
        peer.attempt(peer.tls.do_handshake)
    assert [peer.wire.ended for peer in (first, second)] == [False, True]
    first.shake_hands()
    assert Peer(factory, client_context()).shake_hands().above.tls.alpn == ""


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(("padding", "accepted"), [(60_000, True), (70_000, False)])
async def test_the_bytes_of_a_handshake_have_a_bound(
    build: Build, newest: int, padding: int, accepted: bool
) -> None:
    """A client with a larger certificate is refused."""
    factory = build()
    peer = OpenSslPeer(factory, issue("large", padding=padding), newest).shake_hands()
    assert peer.wire.ended is not accepted
    assert held(factory)[1] < 300_000
    peer.wire.protocol.connection_lost(None)
    assert held(factory) == (0, 0)


@pytest.mark.parametrize(("units", "accepted"), [(150, True), (300, False)])
async def test_long_subjects_are_refused(build: Build, units: int, accepted: bool) -> None:
    """Since parsing takes time; no real one is that long."""
    peer = OpenSslPeer(build(), issue("long", units=units)).shake_hands()
    assert peer.wire.ended is not accepted


async def test_a_handshake_in_a_thousand_records_is_refused(build: Build) -> None:
    """Each would cost a call."""
    factory = build()
    peer = Peer(factory, client_context())
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    hello = peer.outgoing.read()[5:]
    peer.wire.protocol.data_received(b"".join(b"\x16\x03\x01\0\1%c" % byte for byte in hello))
    assert peer.wire.ended


async def test_tiny_records_leave_the_loop_to_others(build: Build) -> None:
    """A read full of them is processed in turns; meanwhile the client is not read from."""
    factory = build(Limits(turn_time=0))
    peer = Peer(factory, client_context()).shake_hands()
    pieces = [b"%04d" % number for number in range(3000)]
    peer.wire.protocol.data_received(peer.records(*pieces))
    above = peer.above
    assert 0 < len(above.pieces) <= Limits().turn_records
    assert not peer.wire.reading
    assert held(factory)[1] > 3000 * 20 * 0.9
    counts = []
    while len(above.pieces) < len(pieces):
        counts.append(len(above.pieces))
        await asyncio.sleep(0)
    assert max(after - before for before, after in pairwise(counts)) <= Limits().turn_records
    await turns(2)
    assert above.pieces == pieces
    assert peer.wire.reading
    assert held(factory)[1] == 0


async def test_several_records_wait_for_deferred_work(build: Build) -> None:
    """And the client is not read from meanwhile."""
    factory = build()
    peer = Peer(factory, client_context()).shake_hands()
    factory.server.turns.put_off(lambda: None)
    peer.wire.protocol.data_received(peer.records(b"a", b"b"))
    assert peer.above.pieces == []
    assert not peer.wire.reading
    await turns(3)
    assert peer.above.pieces == [b"a", b"b"]
    assert peer.wire.reading


async def test_a_protocol_that_pauses_gets_nothing(build: Build) -> None:
    """Input is charged meanwhile, and delivered in order on resumption."""
    factory = build()
    peer = Peer(factory, client_context()).shake_hands()
    above = peer.above
    above.transport.pause_reading()
    large = [bytes((number,)) * 16_384 for number in range(10)]
    peer.wire.protocol.data_received(peer.records(*large))
    await turns(10)
    assert above.pieces == []
    assert not peer.wire.reading
    assert held(factory)[1] > 160_000
    above.transport.resume_reading()
    await turns(10)
    assert above.pieces == large
    assert peer.wire.reading
    peer.leave()
    assert held(factory) == (0, 0)


async def test_what_waits_without_budget_ends_the_connection(build: Build) -> None:
    """Rather than the process."""
    factory = build(Limits(budget=150_000))
    peer = Peer(factory, client_context()).shake_hands()
    peer.above.transport.pause_reading()
    peer.wire.protocol.data_received(peer.records(*[bytes(16_384)] * 10))
    assert peer.wire.aborted


@pytest.mark.parametrize("budget", [1 << 20, 0])
async def test_large_records_go_through_whatever_the_budget(build: Build, budget: int) -> None:
    """OpenSSL's buffers grow if the budget allows; otherwise records are passed on in pieces."""
    factory = build()
    peer = Peer(factory, client_context()).shake_hands()
    factory.server.budget.total = factory.server.budget.used + budget
    body = bytes(range(256)) * 256
    for _ in range(2):
        peer.wire.protocol.data_received(peer.records(body))
        peer.above.transport.write(body)
        assert b"".join(iter(peer.read, b"")) == body
    assert b"".join(peer.above.pieces) == body * 2
    assert (held(factory)[1] > 0) == (budget > 0)
    peer.leave()
    assert held(factory) == (0, 0)


def key_block(tls: SSL.Connection) -> bytes:
    """The keys of a TLS 1.2 connection with SHA-256 (RFC 5246, 5 and 6.3)."""
    master, *randoms = tls.master_key() or b"", tls.server_random() or b"", tls.client_random() or b""
    seed = b"key expansion" + b"".join(randoms)
    first = hmac.digest(master, seed, "sha256")
    second = hmac.digest(master, first, "sha256")
    return hmac.digest(master, first + seed, "sha256") + hmac.digest(master, second + seed, "sha256")


async def test_a_client_that_makes_tls_answer_has_to_read(build: Build) -> None:
    """Each renegotiation is answered by a warning; a client that does not read them is reset."""
    peer = OpenSslPeer(build(), PLAIN, SSL.TLS1_2_VERSION).shake_hands()
    peer.wire.take()
    keys = key_block(peer.tls)
    cipher, salt = AESGCM(keys[:16]), keys[32:36]
    owed = 0
    for number in range(1, 10_000):
        sequence = number.to_bytes(8, "big")
        content = cipher.encrypt(salt + sequence, b"\1\0\0\0", sequence + b"\x16\3\3\0\4")
        peer.wire.protocol.data_received(
            b"\x16\3\3" + (8 + len(content)).to_bytes(2, "big") + sequence + content
        )
        if peer.wire.aborted:
            break
        assert len(peer.wire.sent) > owed
        owed = len(peer.wire.sent)
    assert peer.wire.aborted
    assert owed < 150_000


async def test_segments_of_one_byte(build: Build) -> None:
    """Records are reassembled, during and after the handshake."""
    peer = Peer(build(), client_context())

    def deliver() -> None:
        for byte in peer.outgoing.read():
            peer.wire.protocol.data_received(bytes((byte,)))

    for _ in range(3):
        with suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        deliver()
        peer.incoming.write(peer.wire.take())
    peer.tls.write(b"hello")
    deliver()
    assert peer.above.pieces == [b"hello"]


async def test_many_handshakes_leave_the_loop_to_others(build: Build) -> None:
    """A limited number of steps per turn, in order of arrival; the others are not read from."""
    factory = build(Limits(turn_handshakes=3))
    peers = [Peer(factory, client_context()) for _ in range(10)]
    for peer in peers:
        peer.attempt(peer.tls.do_handshake)

    def answered() -> list[bool]:
        return [bool(peer.wire.sent) for peer in peers]

    assert held(factory)[1] > 3 * 24_000 + 7 * 200
    for count in (3, 6, 9, 10):
        assert answered() == [True] * count + [False] * (10 - count)
        assert [peer.wire.reading for peer in peers] == answered()
        await asyncio.sleep(0)
    for peer in peers:
        peer.shake_hands()
        await asyncio.sleep(0)
        assert peer.above.tls.version == "TLSv1.3"
        peer.leave()
    assert held(factory) == (0, 0)


async def test_a_handshake_that_waits_for_its_turn_may_end(build: Build) -> None:
    """The others continue, and shutdown does not treat it as a silent one."""
    factory = build(Limits(turn_handshakes=1))
    first, gone, ended, last = (Peer(factory, client_context()) for _ in range(4))
    for peer in (first, gone, ended, last):
        peer.attempt(peer.tls.do_handshake)
    last.wire.protocol.close_if_quiet(time.monotonic() + 5)
    gone.leave()
    ended.wire.abort()
    await turns(5)
    assert [bool(peer.wire.sent) for peer in (first, gone, ended, last)] == [True, False, False, True]
    assert not last.wire.aborted


@pytest.mark.parametrize("record", [b"\x17\x03\x03\xff\xff", b"\x99\x03\x03\0\5", b"\x17\x09\x03\0\5"])
async def test_what_can_be_no_record_is_refused_at_its_header(build: Build, record: bytes) -> None:
    """Without waiting for more; the client gets an alert."""
    peer = Peer(build(), client_context()).shake_hands()
    peer.read()
    peer.wire.protocol.data_received(record)
    assert peer.wire.closed
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        peer.read()


# timeouts and closing


async def test_a_handshake_is_watched_by_the_server(build: Build) -> None:
    """It has the timeout of a head; afterwards the protocol above is checked."""
    factory = build()
    connections = factory.server.connections
    done, stuck = Peer(factory, client_context()), Peer(factory, client_context())
    stuck.attempt(stuck.tls.do_handshake)
    assert set(connections) == {done.wire.protocol, stuck.wire.protocol}
    done.shake_hands()
    assert set(connections) == {stuck.wire.protocol}
    now = time.monotonic()
    for passed, aborted in ((Limits().head_timeout - 1, False), (Limits().head_timeout + 1, True)):
        stuck.wire.protocol.check(now + passed)
        assert stuck.wire.aborted is aborted
    stuck.leave()
    assert not connections


async def test_a_refused_client_has_a_moment_to_read_why(build: Build) -> None:
    """Then it is disconnected."""
    peer = Peer(build(), client_context())
    peer.wire.protocol.data_received(b"GET / HTTP/1.1\r\n")
    assert peer.wire.sent.startswith(b"HTTP/1.0 400 ")
    assert peer.wire.ended
    peer.wire.protocol.data_received(b"more")
    now = time.monotonic()
    peer.wire.protocol.check(now + Limits().linger / 2)
    assert not peer.wire.aborted
    peer.wire.protocol.check(now + Limits().linger + 1)
    assert peer.wire.aborted


async def test_draining_waits_for_handshakes_that_go_on(build: Build) -> None:
    """But not for a client that has stopped."""
    peer = Peer(build(), client_context())
    peer.attempt(peer.tls.do_handshake)
    now = time.monotonic()
    peer.wire.protocol.close_if_quiet(now - Limits().quiet)
    assert not peer.wire.aborted
    peer.wire.protocol.close_if_quiet(now + 0.1)
    assert peer.wire.aborted


async def test_each_direction_ends_alone(build: Build) -> None:
    """The server's half-close is sent in TLS and below it, and the client's later data arrives."""
    peer = Peer(build(), client_context()).shake_hands()
    above = peer.above
    above.transport.write(b"bye")
    above.transport.write_eof()
    assert peer.read() == b"bye"
    assert peer.attempt(peer.tls.read) == b""
    assert peer.wire.ended
    assert not peer.wire.closed
    peer.wire.protocol.data_received(peer.records(b"still there"))
    assert above.pieces == [b"still there"]
    assert peer.wire.protocol.eof_received() is False
    assert above.ended
    assert peer.wire.closed


# cost


async def test_a_request_takes_four_calls_into_openssl(build: Build) -> None:
    """The record in, its content out; the answer in, its record out."""
    peer = Peer(build(), client_context()).shake_hands()
    above = peer.above
    above.data_received = above.transport.write  # type: ignore[method-assign]
    record = peer.records(b"GET / HTTP/1.1\r\n\r\n")
    calls: list[str] = []

    def watch(frame: object, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__.startswith(("SSL_", "BIO_")):
            calls.append(called.__name__)

    previous = sys.getprofile()
    sys.setprofile(watch)
    peer.wire.protocol.data_received(record)
    sys.setprofile(previous)
    calls = [name for name in calls if name != "SSL_get_error"]  # it only looks
    assert calls == ["BIO_write", "SSL_read", "SSL_write", "BIO_read"]
    assert peer.read() == b"GET / HTTP/1.1\r\n\r\n"


async def test_openssl_gives_its_memory_back_at_once(build: Build) -> None:
    """Not only when the garbage collector runs."""
    peer = Peer(build(), client_context()).shake_hands()
    above = peer.above
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, SSL.Connection) for each in gc.get_objects())
        peer.leave()
        after = sum(isinstance(each, SSL.Connection) for each in gc.get_objects())
    finally:
        gc.enable()
    assert before - after == 1
    above.transport.write(b"too late")
    above.transport.close()
    assert above.transport.is_closing()
