"""What a program imports at startup: only what it needs then."""

import json
import subprocess
import sys

import pytest

NEVER = {"argparse", "email", "http.client", "importlib.resources", "unittest"}
LATER = {"aiohttp", "dns", "google.protobuf", "h2", "hpack", "OpenSSL", "cryptography", "podkit.http2"}
NOT_FOR_A_QUESTION = {"asyncio", "podkit.server", "ssl"}


def loaded(code: str) -> set[str]:
    """The modules that a new Python has imported after some code, which prints only to standard error."""
    code = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


@pytest.mark.parametrize("program", ["whoami", "whereami"])
def test_a_server_loads_what_it_serves_with(program: str) -> None:
    """HTTP/2, TLS, gRPC and aiohttp are imported on first use, for a faster start."""
    assert not loaded(f"import {program}.cli, {program}.serve") & (NEVER | LATER)


@pytest.mark.parametrize("program", ["whoami", "whereami"])
def test_a_health_check_loads_no_server(program: str) -> None:
    """It runs every few seconds in each container."""
    arguments = "['healthcheck', 'http://127.0.0.1:1'], {}, sys.stderr, sys.stderr"
    assert not loaded(f"import {program}.cli\n{program}.cli.main({arguments})") & (
        NEVER | LATER | NOT_FOR_A_QUESTION
    )
