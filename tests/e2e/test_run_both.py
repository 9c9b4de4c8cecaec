"""`make run`, by its script."""

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.server import PATIENCE, free_port, request

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "run_both.py"


def start(whoami: int, whereami: int) -> subprocess.Popen[str]:
    """The script on those ports."""
    env = {**os.environ, "WHOAMI_PORT": str(whoami), "WHEREAMI_PORT": str(whereami)}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_both_answer_until_ctrl_c() -> None:
    """It prints example commands, the servers answer, and Ctrl-C ends both with status 0."""
    with start(free_port(), free_port()) as script:
        assert script.stdout is not None
        shown = ""
        while "Ctrl-C" not in shown:
            line = script.stdout.readline()
            assert line, "ended before it said what to do"
            shown += line
        ports = sorted(set(re.findall(r"curl localhost:(\d+) ", shown)))
        assert len(ports) == 2
        for port in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
                assert answer.status == 200
        script.send_signal(signal.SIGINT)
        assert script.wait(15) == 0


def test_a_second_ctrl_c_does_not_wait() -> None:
    """Long requests delay the shutdown only until the second Ctrl-C."""
    port = free_port()
    with start(port, free_port()) as script:
        assert script.stdout is not None
        assert script.stderr is not None
        while "Ctrl-C" not in script.stdout.readline():
            pass
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(request("/bench") + request("/?wait=1h"))
            assert client.recv(15) == b"HTTP/1.1 200 OK"  # so the other request has arrived as well
            script.send_signal(signal.SIGINT)
            assert any("SIGTERM: leaving" in line for line in iter(script.stderr.readline, ""))
            script.send_signal(signal.SIGINT)
            assert script.wait(5) == 0


def test_make_calls_ctrl_c_no_error() -> None:
    """In a terminal, it ends both servers and make, with status 0."""
    variables = [f"WHOAMI_PORT={free_port()}", f"WHEREAMI_PORT={free_port()}"]
    environment = [f"BIN={Path(sys.executable).parent}", "SERVER="]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execvp("make", ["make", "run", *variables, *environment])
    shown = b""
    with contextlib.suppress(OSError):  # the error of a terminal that nobody has open any more
        while piece := os.read(terminal, 1000):
            if b"Ctrl-C" in piece:
                os.write(terminal, b"\x03")
            shown += piece
    os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0
    assert re.search(rb"whereami: .* done: ", shown)
    assert b"***" not in shown


def test_a_taken_port_ends_it() -> None:
    """With the port, and how to choose another; the other server is stopped."""
    first = free_port()
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with start(first, port) as script:
            _, said = script.communicate(timeout=PATIENCE)
    assert script.returncode == 1
    assert f"port {port} is in use" in said
    assert "make run WHOAMI_PORT=" in said
    socket.create_server(("", first)).close()
