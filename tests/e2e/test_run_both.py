"""`make run`, by the script that it starts."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_both.py"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def start(whoami: int, whereami: int) -> subprocess.Popen[str]:
    """The script on those ports."""
    env = {**os.environ, "WHOAMI_PORT": str(whoami), "WHEREAMI_PORT": str(whereami)}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_both_answer_until_ctrl_c() -> None:
    """It says what to curl, the addresses answer, and Ctrl-C ends both with status 0."""
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
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                assert answer.status == 200
        script.send_signal(signal.SIGINT)
        assert script.wait(15) == 0


def test_a_taken_port_ends_it() -> None:
    """With the port, and how to choose another; the server that had started is ended."""
    first = free_port()
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with start(first, port) as script:
            _, said = script.communicate(timeout=15)
    assert script.returncode == 1
    assert f"port {port} is taken" in said
    assert "make run WHOAMI_PORT=" in said
    socket.create_server(("", first)).close()
