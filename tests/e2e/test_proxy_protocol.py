"""``--proxy-protocol`` of the programs: before TLS, and for their own health checks."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.certificates import client_context, issue
from tests.server import PATIENCE, Client, request, started, wait_for

HEADER = b"PROXY TCP4 203.0.113.7 10.0.0.9 4711 443\r\n"
SET = {"WHOAMI_PROXY_PROTOCOL": "true"}


def healthcheck(program: str, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """A health check's exit status and output."""
    command = [sys.executable, "-m", program, "healthcheck", *arguments]
    ended = subprocess.run(
        command, env=env or {}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return ended.returncode, ended.stderr


def test_before_the_handshake(tmp_path: Path) -> None:
    """The header comes first, unencrypted; then TLS, whose facts remain certain."""
    arguments = ("--proxy-protocol", *issue("whoami.example").write(tmp_path))
    with started("whoami", *arguments) as server, server.connect() as plain:
        plain.send(HEADER)
        with client_context().wrap_socket(plain.socket) as secure, Client(secure) as client:
            client.send(request("/.hops", "Accept: application/json"))
            answer = client.read()
        assert answer is not None
        announced, connection, _ = json.loads(answer.body)["hops"]
        assert (announced["client"], announced["certain"]) == ("203.0.113.7:4711", False)
        assert (connection["tls"], connection["certain"]) == ("TLSv1.3", True)
        url = f"https://127.0.0.1:{server.port}/health"
        assert healthcheck("whoami", "--proxy-protocol", url) == (0, "")
        assert healthcheck("whoami", url)[0] == 1


@pytest.mark.parametrize("program", ["whoami", "whereami"])
def test_both_programs_check_their_own_health(program: str) -> None:
    """They send a header if the environment or a flag says so; without one they are refused."""
    with started(program, env=SET) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert healthcheck(program, url, env=SET) == (0, "")
        assert healthcheck(program, "--proxy-protocol", url) == (0, "")
        assert healthcheck(program, url)[0] == 1
        wait_for(lambda: any("it does not begin with a PROXY header" in line for line in server.err))


def test_whereami_names_the_client() -> None:
    """In its log, from the header."""
    with started("whereami", "--proxy-protocol") as server:
        assert server.ask(HEADER + request("/")).status == 200
        wait_for(lambda: "Received request from 203.0.113.7\n" in server.out)
