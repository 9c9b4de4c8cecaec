"""Attacks that no client can succeed with."""

import time
from pathlib import Path

import pytest

from tests.server import Server, request, started, wait_for


def resident(server: Server) -> int:
    """The process's memory in bytes."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def cpu(server: Server) -> int:
    """Ticks of CPU time that the process has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_head_over_a_megabyte_gets_431(whoami: Server) -> None:
    """One large header, many, or very many small ones; and the answer can be read."""
    many = [f"X-{number}: {'v' * 1000}" for number in range(1200)]
    short = [f"X: {number}" for number in range(10_000)]
    for headers in (["X: " + "k" * 5_000_000], many, short):
        with whoami.connect() as client:
            client.send(request("/", *headers))
            answer = client.read()
            assert answer is not None
            assert answer.status == 431


def test_a_body_over_the_limit_gets_413() -> None:
    """Announced or chunked; one of exactly the limit is echoed."""
    with started("whoami", "--max-body", "1000") as server:
        assert server.get("/", method="POST", body=b"x" * 1000).status == 200
        assert server.get("/", method="POST", body=b"x" * 1001).status == 413
        chunked = request("/", "Transfer-Encoding: chunked", method="POST") + b"fffff\r\n" + b"x" * 0xFFFFF
        assert server.ask(chunked).status == 413
        assert server.get("/bench", method="POST", body=b"x" * 5000).body == b"1"


def test_a_client_that_waits_for_100_continue_gets_it(whoami: Server) -> None:
    """Then its body is echoed, and the connection stays open."""
    with whoami.connect() as client:
        client.send(request("/", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        interim = client.read()
        assert interim is not None
        assert interim.status == 100
        client.send(b"hello" + request("/bench"))
        answer, after = client.read(), client.read()
        assert answer is not None
        assert answer.body.endswith(b"\r\n\r\nhello")
        assert after is not None
        assert after.body == b"1"


@pytest.mark.slow
def test_a_slow_head_is_timed_out(whoami: Server) -> None:
    """408 about ten seconds after its first byte, however it drips."""
    with whoami.connect() as client:
        start = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        answer = client.read()
        assert answer is not None
        assert answer.status == 408
        assert time.monotonic() - start > 10


@pytest.mark.parametrize("target", ["/data?size=64&unit=GB", "/data?size=64&unit=GB&attachment=1"])
def test_endless_data_is_bounded_by_its_reader(target: str) -> None:
    """Memory stays small whether or not the client reads, and the work ends with the client."""
    with started("whoami") as server:
        assert server.get("/bench").status == 200
        before = resident(server)
        folder = Path(f"/proc/{server.process.pid}/fd")
        files = len(list(folder.iterdir()))
        with server.connect() as client:
            client.send(request(target))
            read = sum(len(client.reader.read(1 << 20)) for _ in range(200))
            assert read == 200 << 20
            used = cpu(server)
            wait_for(lambda: cpu(server) - used < 50)
            assert resident(server) - before < 20 << 20
            assert server.get("/bench").body == b"1"
        wait_for(lambda: len(list(folder.iterdir())) <= files)
        used = cpu(server)
        assert server.get("/bench").body == b"1"
        assert cpu(server) - used < 20


def test_a_client_that_reads_nothing_can_not_fill_the_memory() -> None:
    """Pipelined requests for large answers wait until the answers are read."""
    with started("whoami") as server:
        before = resident(server)
        with server.connect() as client:
            client.socket.settimeout(0.5)
            flood = request("/data?size=16000") * 1000
            with pytest.raises(TimeoutError):
                client.socket.sendall(flood * 200)
            assert resident(server) - before < 64 << 20
        assert server.get("/bench").body == b"1"


def test_long_redirects_are_not_remembered() -> None:
    """Clients' paths do not increase memory use, however many there are."""
    with started("whoami") as server:
        for number in range(20):
            server.get(f"//{number}{'a' * 1_000_000}")
        before = resident(server)
        for number in range(20, 120):
            assert server.get(f"//{number}{'a' * 1_000_000}").status == 307
        wait_for(lambda: resident(server) - before < 64 << 20)


def test_verbose_logs_a_websocket() -> None:
    """When it closes, also if the client just disconnects."""
    handshake = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    with started("whoami", "--verbose") as server:
        with server.connect() as client:
            client.send(request("/echo", *handshake, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
            assert client.read() is not None
        wait_for(lambda: any('"GET /echo HTTP/1.1" 101' in line for line in server.err))


def test_verbose_logs_each_request_once() -> None:
    """Client, request line, status and duration; control characters cannot forge a line."""
    with started("whoami", "--verbose") as server:
        server.get("/health")
        server.get("/", method="POST", body=b"x")
        server.ask(b"GET / HTTP/9.9\r\nHost: a\r\n\r\n")
        wait_for(lambda: len(server.err) == 4)
    lines = [line for line in server.err if " - - [" in line]
    assert [line.split('"')[1] for line in lines] == ["GET /health HTTP/1.1", "POST / HTTP/1.1", "- - HTTP/1.1"]
    assert [line.split('" ')[1].split()[0] for line in lines] == ["200", "200", "505"]
    assert all(line.startswith("127.0.0.1:") and line.endswith("s\n") for line in lines)


@pytest.mark.parametrize(("arguments", "env"), [(["--no-env"], {}), ([], {"WHOAMI_NO_ENV": "true"})])
def test_the_environment_can_be_kept(arguments: list[str], env: dict[str, str]) -> None:
    """Whatever a client asks."""
    with started("whoami", *arguments, env={**env, "SECRET": "s3"}) as server:
        for target in ("/?env=true", "/api?env=true"):
            assert b"s3" not in server.get(target).body
