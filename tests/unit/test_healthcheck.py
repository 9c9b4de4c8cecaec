"""A health check ends in time, whatever the server does."""

import io
import socket
import threading
from contextlib import suppress

import pytest

from podkit.process import healthcheck


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is progress, but the check has a time limit for all of them."""
    monkeypatch.setattr(healthcheck, "_PATIENCE", 0.3)
    over = threading.Event()

    def drip() -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            while not over.wait(0.02):
                client.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip)
        server.start()
        errors = io.StringIO()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        status = healthcheck.healthcheck("whoami", [url], {}, "", errors)
        over.set()
        server.join()
    assert (status, errors.getvalue()) == (1, f"whoami healthcheck: {url}: timed out\n")
