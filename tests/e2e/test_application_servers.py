"""The applications under the servers that people use for aiohttp applications."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.server import PATIENCE, free_port, wait_for


@pytest.fixture(params=["whoami.app:build_app", "whereami.app:build_app"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """An application under ``python -m aiohttp.web``."""
    port = free_port()
    command = [sys.executable, "-m", "aiohttp.web", "-H", "127.0.0.1", "-P", str(port), request.param]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield request.param, port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_aiohttp_web_serves_both(served: tuple[str, int]) -> None:
    """By the name of the function that builds the application."""
    name, port = served
    body = b""

    def answers() -> bool:
        nonlocal body
        try:
            body = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE).read()
        except OSError:
            return False
        return True

    wait_for(answers)
    expected = (
        rb"Hostname: \S+\n" if name.startswith("whoami") else rb"You've hit \S+ on this node: undefined\n"
    )
    assert re.match(expected, body)
