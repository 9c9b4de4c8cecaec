"""TLS with Python's own client: certificates of both sides, refusals, and everything else as without TLS."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from OpenSSL import SSL

from tests.certificates import (
    ANY_USE,
    CLIENT_AUTH,
    DAY,
    NOW,
    SERVER_AUTH,
    Identity,
    client_context,
    connect,
    issue,
)
from tests.server import PATIENCE, Answer, Client, Server, request, started, wait_for

RECORDED = json.loads((Path(__file__).parents[1] / "contract/whoami-tls-subjects.json").read_text())
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
PLAIN_ANSWER = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

SERVER = issue("localhost")
ROOT = issue("root", is_authority=True)
OTHER_ROOT = issue("other root", is_authority=True)
MIDDLE = issue("middle", ROOT, is_authority=True)
STRANGER = issue("stranger", is_authority=True)
PINNED = issue("pinned")
CLIENTS = {
    "issued": issue("issued", ROOT, uses=(CLIENT_AUTH,)),
    "without extended usage": issue("plain", ROOT),
    "for any use": issue("any", ROOT, uses=(ANY_USE,)),
    "with a key usage that signs nothing": issue("encipher", ROOT, signs=False),
    "of the file's second authority": issue("other", OTHER_ROOT),
    "through an intermediate": issue("leaf", MIDDLE, send_issuer=True),
    "itself in the file": PINNED,
}
REFUSED: dict[str, tuple[Identity | None, str]] = {
    "none": (None, "CERTIFICATE_REQUIRED"),
    "of another authority": (issue("alien", STRANGER), "UNKNOWN_CA"),
    "self-signed": (issue("self"), "UNKNOWN_CA"),
    "without its intermediate": (issue("leaf", MIDDLE), "UNKNOWN_CA"),
    "expired": (issue("old", ROOT, begin=NOW - 2 * DAY, end=NOW - DAY), "CERTIFICATE_EXPIRED"),
    "not yet valid": (issue("new", ROOT, begin=NOW + DAY / 2), "BAD_CERTIFICATE"),
    "for servers only": (issue("server", ROOT, uses=(SERVER_AUTH,)), "UNSUPPORTED_CERTIFICATE"),
    "of one that is no authority": (issue("x", CLIENTS["issued"], send_issuer=True), "CA"),
}


@pytest.fixture(scope="module")
def secure() -> Iterator[Server]:
    """A TLS whoami that accepts any client."""
    with tempfile.TemporaryDirectory() as folder, started("whoami", *SERVER.write(Path(folder))) as server:
        yield server


@pytest.fixture(scope="module")
def mutual() -> Iterator[Server]:
    """A TLS whoami that accepts clients of two authorities, and one client by its own certificate."""
    with tempfile.TemporaryDirectory() as folder:
        authorities = Path(folder) / "ca.crt"
        authorities.write_bytes(ROOT.pem + OTHER_ROOT.pem + PINNED.pem)
        with started("whoami", *SERVER.write(Path(folder)), "--cacert", str(authorities)) as server:
            yield server


def ask(server: Server, raw: bytes, context: ssl.SSLContext | None = None) -> Answer:
    """The first answer on a new connection."""
    with connect(server, context) as client:
        client.send(raw)
        answer = client.read(raw)
        assert answer is not None
        return answer


def subjects(answer: Answer) -> list[str]:
    """The lines between the client's address and the request."""
    shown, _, _ = answer.body.decode().partition(" / HTTP/1.1\r\n")
    return shown.split("\nRemoteAddr: ")[1].split("\n")[1:-1]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["openssl_subject"])
def test_recorded_certificates_are_shown(
    secure: Server, tmp_path: Path, case: dict[str, str], version: ssl.TLSVersion
) -> None:
    """With the original's line."""
    (tmp_path / "both.pem").write_text(case["key"] + case["pem"])
    context = client_context(version=version)
    context.load_cert_chain(tmp_path / "both.pem")
    assert subjects(ask(secure, request("/"), context)) == [case["line"]]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_chain_is_shown_leaf_first(secure: Server, version: ssl.TLSVersion) -> None:
    """Each certificate that the client sends has its line."""
    context = client_context(CLIENTS["through an intermediate"], version)
    lines = ["Certificate[0] Subject: CN=leaf", "Certificate[1] Subject: CN=middle"]
    assert subjects(ask(secure, request("/"), context)) == lines


def test_subjects_are_shown_with_every_request(secure: Server) -> None:
    """On any path, with a body or a wait, and again on the same connection; not in /api."""
    with connect(secure, client_context(PINNED)) as client:
        for raw in (request("/"), request("/", method="POST", body=b"x" * 100_000), request("/?wait=1ms")):
            client.send(raw)
            answer = client.read(raw)
            assert answer is not None
            assert answer.body.count(b"\nCertificate[0] Subject: CN=pinned\n") == 1
        client.send(request("/api"))
        answer = client.read()
        assert answer is not None
        assert b"pinned" not in answer.body
        assert set(json.loads(answer.body)) == {
            "hostname",
            "ip",
            "headers",
            "url",
            "host",
            "method",
            "remoteAddr",
        }


def test_a_client_without_a_certificate_is_served(secure: Server) -> None:
    """Nothing is shown about it."""
    assert subjects(ask(secure, request("/"))) == []


@pytest.mark.parametrize(
    "identity", [identity for identity, _ in REFUSED.values() if identity], ids=list(REFUSED)[1:]
)
def test_any_certificate_is_accepted_without_cacert(secure: Server, identity: Identity) -> None:
    """It is shown, not verified."""
    shown = subjects(ask(secure, request("/"), client_context(identity)))
    assert shown[0] == f"Certificate[0] Subject: {identity.certificate.subject.rfc4514_string()}"


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("identity", CLIENTS.values(), ids=CLIENTS)
def test_mutual_tls_accepts(mutual: Server, identity: Identity, version: ssl.TLSVersion) -> None:
    """Its chain leads to an authority in the file, as Go verifies it."""
    shown = subjects(ask(mutual, request("/"), client_context(identity, version)))
    assert shown[0] == f"Certificate[0] Subject: {identity.certificate.subject.rfc4514_string()}"


@pytest.mark.parametrize(("identity", "alert"), REFUSED.values(), ids=REFUSED)
def test_mutual_tls_refuses(mutual: Server, identity: Identity | None, alert: str) -> None:
    """An alert tells the client why, no request is answered, and the next client is served."""
    with pytest.raises(ssl.SSLError) as refusal:
        ask(mutual, request("/"), client_context(identity))
    assert alert in str(refusal.value.reason)
    assert ask(mutual, request("/"), client_context(PINNED)).status == 200


@pytest.mark.parametrize("identity", [identity for identity, _ in REFUSED.values()], ids=REFUSED)
def test_mutual_tls_refuses_over_tls_12(mutual: Server, identity: Identity | None) -> None:
    """Before the handshake is finished."""
    with pytest.raises(ssl.SSLError, match="ALERT"):
        connect(mutual, client_context(identity, ssl.TLSVersion.TLSv1_2))


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
def test_old_versions_are_refused(secure: Server) -> None:
    """TLS 1.1 gets the alert for it."""
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        connect(secure, context)


@pytest.mark.parametrize("pieces", [[b"GET / HTTP/1.1\r\n", b"\r\n"], [b"PO", b"ST / HTTP/1.1\r\n\r\n"]])
def test_plain_http_is_told_so(secure: Server, pieces: list[bytes]) -> None:
    """In the original's words."""
    with secure.connect() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.send(piece)
        assert client.reader.read() == PLAIN_ANSWER


@pytest.mark.parametrize("garbage", [b"\0" * 600, b"\x16\x03\x01\xff\xff" + b"x" * 600, b"hello\r\n" * 50])
def test_garbage_ends_the_connection(secure: Server, garbage: bytes) -> None:
    """And nothing else."""
    with secure.connect() as client:
        client.send(garbage)
        assert len(client.reader.read()) < 100
    assert ask(secure, request("/health")).status == 200


def test_garbage_after_the_handshake_ends_the_connection(secure: Server) -> None:
    """With an alert."""
    with connect(secure) as client:
        os.write(client.socket.fileno(), b"no record at all")
        with pytest.raises(ssl.SSLError, match="ALERT"):
            client.reader.read()
    assert ask(secure, request("/health")).status == 200


@pytest.mark.slow
def test_a_client_that_does_not_shake_hands_is_timed_out(secure: Server) -> None:
    """After ten seconds, whether it sent nothing or half a record."""
    hello = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client_context().wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
    start = time.monotonic()
    with secure.connect() as silent, secure.connect() as half:
        half.send(hello.read(100))
        assert silent.closes()
        assert half.closes()
    assert time.monotonic() - start > 10


def test_a_handshake_byte_by_byte(secure: Server) -> None:
    """Small pieces are reassembled."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(PINNED).wrap_bio(incoming, outgoing)
    with secure.connect() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def until_done(action: Callable[[], object]) -> object:
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        client.send(bytes((byte,)))
                    incoming.write(client.socket.recv(65536))

        until_done(tls.do_handshake)
        tls.write(request("/"))
        assert b"CN=pinned" in bytes(until_done(lambda: tls.read(65536)))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("offered", "chosen"), [(("http/1.1",), "http/1.1"), (("http/1.0", "http/1.1"), "http/1.1"), ((), None)]
)
def test_protocols_are_agreed_on(secure: Server, offered: tuple[str, ...], chosen: str | None) -> None:
    """A client that offers nothing is served too."""
    with connect(secure, client_context(alpn=offered)) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.selected_alpn_protocol() == chosen
        client.send(request("/bench"))
        answer = client.read()
        assert answer is not None
        assert answer.body == b"1"


@pytest.mark.parametrize("program", ["whoami", "whereami"])
def test_curl_speaks_http2(tmp_path: Path, program: str) -> None:
    """The handshake negotiates it, and a client's certificate is shown over it too."""
    with started(program, *ROOT.write(tmp_path)) as server:
        mine = ["--cert", str(tmp_path / "tls.crt"), "--key", str(tmp_path / "tls.key")]
        command = ["curl", "-sk", "-m", str(PATIENCE), "--http2", *mine, "-d", "hello", "-w", "%{http_version}"]
        address = f"https://127.0.0.1:{server.port}/"
        answer = subprocess.run([*command, address], check=True, capture_output=True).stdout
        assert answer.endswith(b"2")
        if program == "whoami":
            assert b"\nCertificate[0] Subject: CN=root\nPOST / HTTP/1.1\r\n" in answer
            assert answer.endswith(b"hello2")


def test_http2_is_drained(tmp_path: Path) -> None:
    """A stream in flight is answered after SIGTERM."""
    with started("whoami", *ROOT.write(tmp_path), "--verbose") as server:
        command = ["curl", "-skZ", "-m", str(PATIENCE), "--http2", "-w", "%{http_code} "]
        for path in ("?wait=2s", "bench"):
            command += ["-o", "/dev/null", f"https://127.0.0.1:{server.port}/{path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
            wait_for(lambda: any("/bench" in line for line in server.err))
            server.process.terminate()
            assert client.communicate()[0] == "200 200 "
            server.process.wait(PATIENCE)


def test_the_end_is_said(secure: Server) -> None:
    """close_notify follows the last answer, so that a client knows it to be complete."""
    with connect(secure) as client:
        client.send(request("/bench", "Connection: close"))
        assert client.read() is not None
        assert client.reader.read() == b""  # without it: an error


def receive(client: SSL.Connection) -> bytes:
    """Received bytes; none after the server's close_notify."""
    try:
        return client.recv(65536)
    except SSL.ZeroReturnError:
        return b""


@pytest.mark.parametrize("farewell", ["close_notify", "FIN", "both"])
def test_a_client_that_has_sent_all_gets_its_answers(secure: Server, farewell: str) -> None:
    """Half-closed in TLS, below it, or both."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    with socket.create_connection(("127.0.0.1", secure.port)) as plain:
        client = SSL.Connection(context, plain)
        client.set_connect_state()
        client.sendall(request("/data?size=200000") + request("/?wait=100ms"))
        if farewell != "FIN":
            client.shutdown()
        if farewell != "close_notify":
            plain.shutdown(socket.SHUT_WR)
        received = b"".join(iter(partial(receive, client), b""))
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert b"Connection: close" not in received  # which it has done itself
    assert len(received) > 200_000


def memory(server: Server) -> int:
    """The process's resident memory in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def test_a_large_answer_is_whole_and_costs_little_memory(secure: Server) -> None:
    """Whether the client reads as fast as it can or not at all."""
    size = 100 << 20
    target = request(f"/data?size={size}", "Connection: close")
    ask(secure, request("/data?size=1000000"))
    before = memory(secure)
    with connect(secure) as idle, connect(secure) as client:
        idle.send(target)
        client.send(target)
        received, last, largest = 0, b"", 0
        while block := client.reader.read1(1 << 20):
            received, last, largest = received + len(block), block, max(largest, memory(secure))
        assert received > size
        assert last.endswith(b"|")
    assert largest - before < 16 << 20


def test_a_large_body_comes_back(secure: Server) -> None:
    """16 MiB in, and out again."""
    body = os.urandom(16 << 20)
    answer = ask(secure, request("/", method="POST", body=body))
    assert answer.body.endswith(body)


async def test_websockets(secure: Server) -> None:
    """The echo over TLS: small and large messages, and closing."""
    url = f"https://127.0.0.1:{secure.port}/echo"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, ssl=client_context(), max_msg_size=0) as websocket,
    ):
        for message in (b"x", os.urandom(4 << 20)):
            await websocket.send_bytes(message)
            assert await websocket.receive_bytes() == message
        await websocket.close(code=4001)
        assert websocket.close_code == 4001


def test_no_protocol_in_common_is_refused(secure: Server) -> None:
    """By the appropriate alert, as in Go; the next client is served."""
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        connect(secure, client_context(alpn=("http/1.0",)))
    assert ask(secure, request("/health")).status == 200


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("workers", [1, 2])
def test_sessions_are_resumed(tmp_path: Path, version: ssl.TLSVersion, workers: int) -> None:
    """By any worker; the subjects from the first handshake are shown again."""
    context = client_context(PINNED, version)
    session = None
    with started("whoami", *SERVER.write(tmp_path), "--workers", str(workers)) as server:
        for number in range(4):
            plain = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
            with context.wrap_socket(plain, session=session) as tls, Client(tls) as client:
                client.send(request("/"))
                answer = client.read()
                assert answer is not None
                assert subjects(answer) == ["Certificate[0] Subject: CN=pinned"]
                assert tls.session_reused == (number > 0)
                session = tls.session


def test_without_uvloop(tmp_path: Path) -> None:
    """asyncio's own loop serves the same."""
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    env = {"PYTHONPATH": str(tmp_path)}
    with started("whoami", *SERVER.write(tmp_path), env=env) as server:
        assert subjects(ask(server, request("/"), client_context(PINNED))) == [
            "Certificate[0] Subject: CN=pinned"
        ]
        assert len(ask(server, request("/data?size=3000000")).body) == 3_000_000
        with server.connect() as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.reader.read() == PLAIN_ANSWER


def test_whereami(tmp_path: Path) -> None:
    """It serves TLS too."""
    with started("whereami", *SERVER.write(tmp_path)) as server:
        assert ask(server, request("/")).body.startswith(b"You've hit ")


def test_healthcheck(tmp_path: Path) -> None:
    """A server can check itself over TLS, whatever its certificate says."""
    with started("whoami", *SERVER.write(tmp_path)) as server:
        command = [sys.executable, "-m", "whoami", "healthcheck"]
        env = {"WHOAMI_PORT_NUMBER": str(server.port)}
        for health, status in ((b"200", 0), (b"503", 1)):
            assert ask(server, request("/health", method="POST", body=health)).status == 200
            for url in ([], [f"https://127.0.0.1:{server.port}/health"]):
                ended = subprocess.run([*command, *url], env=env, capture_output=True, text=True, check=False)
                assert (ended.returncode, "503" in ended.stderr) == (status, status == 1)


CURVE = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


@pytest.mark.parametrize("kind", ["chain", "parameters", "one file"])
def test_files_as_they_come(tmp_path: Path, kind: str) -> None:
    """The certificate's chain is sent; a key file may also contain curve parameters or the certificate."""
    identity = issue("leaf", MIDDLE)
    flags = identity.write(tmp_path)
    (tmp_path / "tls.crt").write_bytes(identity.pem + MIDDLE.pem)
    if kind == "parameters":
        (tmp_path / "tls.key").write_bytes(CURVE + identity.key_pem)
    if kind == "one file":
        (tmp_path / "tls.key").write_bytes(identity.pem + identity.key_pem + MIDDLE.pem)
        (tmp_path / "tls.crt").write_bytes((tmp_path / "tls.key").read_bytes())
    context = client_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ROOT.pem.decode())
    with started("whoami", *flags) as server:
        assert ask(server, request("/bench"), context).body == b"1"


# rotation


def mount(folder: Path, version: str, identity: Identity, authority: Identity = ROOT) -> list[str]:
    """Files as Kubernetes mounts a secret: links to ``..data``, a link that is swapped. Returns the flags."""
    target = folder / f"..{version}"
    target.mkdir()
    identity.write(target)
    (target / "ca.crt").write_bytes(authority.pem)
    (folder / "..new").symlink_to(target.name)
    (folder / "..new").rename(folder / "..data")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return ["--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key")]


def shown_certificate(server: Server, context: ssl.SSLContext | None = None) -> bytes:
    """The certificate that the server presents to a new connection."""
    with connect(server, context) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        found = client.socket.getpeercert(binary_form=True)
        assert found
        return ssl.DER_cert_to_PEM_cert(found).encode()


def test_a_rotated_certificate_serves_new_connections(tmp_path: Path) -> None:
    """By swapping the link, without a restart; an open connection continues."""
    renewed = issue("renewed")
    with started("whoami", *mount(tmp_path, "1", SERVER)) as server, connect(server) as open_before:
        assert shown_certificate(server) == SERVER.pem
        mount(tmp_path, "2", renewed)
        wait_for(lambda: shown_certificate(server) == renewed.pem)
        open_before.send(request("/bench"))
        assert open_before.read() is not None
    assert sum("has changed" in line for line in server.err) == 1


def test_rotated_authorities_are_those_of_new_connections(tmp_path: Path) -> None:
    """Clients of the old one are refused from then on."""
    flags = [*mount(tmp_path, "1", SERVER), "--cacert", str(tmp_path / "ca.crt")]
    context = client_context(issue("other", OTHER_ROOT))

    def served() -> bool:
        try:
            return ask(server, request("/bench"), context).status == 200
        except ssl.SSLError:
            return False

    with started("whoami", *flags) as server:
        assert not served()
        mount(tmp_path, "2", SERVER, OTHER_ROOT)
        wait_for(served)


def test_a_broken_pair_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    """With one line in the log; a valid pair is used later."""
    renewed = issue("renewed")
    with started("whoami", *SERVER.write(tmp_path)) as server:
        (tmp_path / "tls.crt").write_bytes(renewed.pem)
        wait_for(lambda: shown_certificate(server) == SERVER.pem and "stays in use" in "".join(server.err))
        assert sum("stays in use" in line for line in server.err) == 1
        assert f"the key {tmp_path}/tls.key does not belong to the certificate" in "".join(server.err)
        (tmp_path / "tls.key").write_bytes(renewed.key_pem)
        wait_for(lambda: shown_certificate(server) == renewed.pem)


# startup and shutdown


ENCRYPTED = SERVER.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
BAD_FILES = {
    "no certificate": ({"tls.crt": None}, "can't be read: No such file"),
    "no key": ({"tls.key": None}, "can't be read: No such file"),
    "no authorities": ({"ca.crt": None}, "can't be read: No such file"),
    "a folder": ({"tls.crt": b"folder"}, "can't be read: Is a directory"),
    "an empty certificate": ({"tls.crt": b""}, "no PEM certificate"),
    "an empty key": ({"tls.key": b""}, "no PEM private key"),
    "empty authorities": ({"ca.crt": b"\n"}, "no PEM certificate"),
    "a key for a certificate": ({"tls.crt": SERVER.key_pem}, "no PEM certificate"),
    "a key for authorities": ({"ca.crt": SERVER.key_pem}, "no PEM certificate"),
    "a certificate for a key": ({"tls.key": SERVER.pem}, "no PEM private key"),
    "a broken certificate": ({"tls.crt": SERVER.pem.replace(b"M", b"?")}, "it is damaged"),
    "a broken key": ({"tls.key": SERVER.key_pem.replace(b"M", b"A")}, "it is damaged"),
    "another's key": ({"tls.key": ROOT.key_pem}, "does not belong to the certificate"),
    "an encrypted key": ({"tls.key": ENCRYPTED}, "is encrypted"),
    "expired": (issue("old", begin=NOW - 2 * DAY, end=NOW - DAY), "expired at"),
    "not yet valid": (issue("new", begin=NOW + DAY / 2), "is not valid before"),
}


@pytest.mark.parametrize("program", ["whoami", "whereami"])
@pytest.mark.parametrize(("files", "text"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_end_the_start(
    tmp_path: Path, program: str, files: Identity | dict[str, bytes | None], text: str
) -> None:
    """One line that names the file and says why, and status 1."""
    flags = [*SERVER.write(tmp_path), "--cacert", str(tmp_path / "ca.crt")]
    (tmp_path / "ca.crt").write_bytes(ROOT.pem)
    if isinstance(files, Identity):
        files.write(tmp_path)
    else:
        for name, content in files.items():
            (tmp_path / name).unlink()
            if content == b"folder":
                (tmp_path / name).mkdir()
            elif content is not None:
                (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-m", program, "--port", "0", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith(f"{program}: the ")
    assert str(tmp_path) in ended.stderr
    assert text in ended.stderr


def test_without_tls_nothing_of_it_is_loaded() -> None:
    """Startup costs no more than before."""
    code = "import sys, whoami.cli, whereami.cli; print({'OpenSSL', 'cryptography'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_signal_drains(tmp_path: Path) -> None:
    """A request in flight is answered, a handshake in progress is finished and its request answered."""
    with started("whoami", *SERVER.write(tmp_path)) as server, connect(server) as idle, connect(server) as busy:
        late = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        busy.send(request("/?wait=2s"))
        wait_for(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) > 10)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: any("leaving" in line for line in server.err))
        with Client(client_context().wrap_socket(late, suppress_ragged_eofs=False)) as client:
            client.send(request("/bench"))
            answer = client.read()
            assert answer is not None
            assert answer.header("Connection") == "close"
        answer = busy.read()
        assert answer is not None
        assert answer.status == 200
        assert idle.reader.read() == b""
        assert server.process.wait(PATIENCE) == 0


def test_silent_connections_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """Clients without a handshake are disconnected."""
    flags = [*SERVER.write(tmp_path), "--grace-period=1h"]
    with started("whoami", *flags) as server, server.connect() as silent:
        ask(server, request("/bench"))
        server.stop()
        assert silent.closes()
