"""Each protocol in the finished image, which contains only a part of Python's library, with the labs' curl."""

from collections.abc import Iterator

import pytest
import trustme

from podkit.proto.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from tests.e2e.test_grpc import CHECK, SERVING, WHOAMI, connect, unary
from tests.images.engine import HARDENED, Container, contained, docker, inspect, network
from tests.unit.test_structure import MODULES, imports
from whoami.proto.whoami_pb2 import WhoamiReply, WhoamiRequest


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The option that mounts a certificate, its key and its authority at /tls."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    identity = authority.issue_cert("whoami.test", common_name="lab")
    identity.private_key_pem.write_to_path(folder / "key.pem")
    identity.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)  # for the image's user
    return f"--volume={folder}:/tls:ro"


@pytest.fixture(scope="module")
def secure(prefix: str, mounted: str) -> Iterator[Container]:
    """A whoami that serves TLS."""
    flags = ["--cert", "/tls/cert.pem", "--key", "/tls/key.pem"]
    with contained(f"{prefix}whoami", *flags, options=[*HARDENED, mounted]) as container:
        yield container


def curl(prefix: str, mounted: str, server: Container, *arguments: str) -> str:
    """The output of the whereami image's curl for a server called whoami.test, and the HTTP version."""
    address = network(server.name)["IPAddress"]
    image = [*HARDENED, mounted, "--entrypoint=/usr/bin/curl", f"{prefix}whereami"]
    always = ["--silent", "--show-error", "--write-out", "%{http_version}"]
    always += ["--resolve", f"whoami.test:80:{address}"]
    return docker("run", "--rm", *image, *always, *arguments)


@pytest.mark.parametrize("flag", ["--http1.1", "--http2", "--http2-prior-knowledge"])
def test_cleartext(prefix: str, mounted: str, whoami_container: Container, flag: str) -> None:
    """HTTP/1.1, the upgrade to HTTP/2, and HTTP/2 with prior knowledge."""
    version = "1.1" if flag == "--http1.1" else "2"
    assert curl(prefix, mounted, whoami_container, flag, "http://whoami.test/bench") == f"1{version}"


@pytest.mark.parametrize("flag", ["--http1.1", "--http2"])
def test_tls(prefix: str, mounted: str, secure: Container, flag: str) -> None:
    """curl verifies the server and negotiates; whoami shows curl's own certificate."""
    client = ["--cacert", "/tls/ca.pem", "--cert", "/tls/cert.pem", "--key", "/tls/key.pem"]
    text = curl(prefix, mounted, secure, flag, *client, "https://whoami.test:80/")
    assert "Certificate[0] Subject: " in text
    assert "lab" in text
    assert text.endswith("1.1" if flag == "--http1.1" else "2")


def test_grpc(whoami_container: Container) -> None:
    """whoami's own service and the standard health check, through the published port."""
    with connect(whoami_container) as channel:
        reply = unary(channel, WHOAMI, WhoamiRequest(), WhoamiReply)
        assert reply.hostname == inspect(whoami_container.name)["Config"]["Hostname"]
        assert unary(channel, CHECK, HealthCheckRequest(), HealthCheckResponse).status == SERVING


def test_the_health_check_speaks_tls(secure: Container) -> None:
    """If whoami serves TLS, the check gets the URL."""
    assert secure.execute("whoami", "healthcheck", "https://127.0.0.1:80/health").returncode == 0


def test_the_image_holds_all_that_the_servers_import(prefix: str) -> None:
    """Including late imports in functions, on the first use of a protocol."""
    names = sorted(set().union(*map(imports, MODULES)))
    program = f"import importlib\nfor name in {names}: importlib.import_module(name)\nprint('all')"
    python = ["--entrypoint=/usr/bin/python3", f"{prefix}whoami", "-I", "-c", program]
    assert docker("run", "--rm", *HARDENED, *python) == "all\n"
