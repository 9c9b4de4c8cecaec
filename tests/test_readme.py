"""The README's examples, run as documented."""

import re
import socket
import subprocess

from podkit.pod.netlink import read_addresses
from tests.readme import examples
from tests.server import PATIENCE, started

# compared where their chances or pods are chosen: test_faults.py, test_watch*.py, test_dns.py
ELSEWHERE = ("/.answer", "whoami watch", "whoami dns")


def anonymous(text: str) -> str:
    """The text without machine-specific values."""
    text = re.sub(r"(IP: .*\n)+", "IP: ...\n", text)
    text = re.sub(r'"ip":\[[^]]*\]', '"ip":[]', text)
    text = re.sub(r"addresses=.*", "addresses=...", text)
    text = re.sub(r"id=w1-[0-9a-z]+", "id=w1-1", text)
    text = re.sub(r"127\.0\.0\.1:\d+|\[::1\]:\d+", "127.0.0.1:1", text)
    text = re.sub(r"localhost:\d+", "localhost:1", text)
    return re.sub(r"curl/[0-9.]+", "curl/8", text).replace(socket.gethostname(), "laptop")


def test_examples_do_what_they_show() -> None:
    """Each curl in the README prints the output below it."""
    here = [example for example in examples() if not any(name in example[0] for name in ELSEWHERE)]
    assert len(here) >= 8
    with started("whoami") as whoami, started("whereami") as whereami:
        for command, shown in here:
            typed = command.replace(":8080", f":{whoami.port}").replace(":8081", f":{whereami.port}")
            run = subprocess.run(
                typed, shell=True, capture_output=True, text=True, check=True, timeout=PATIENCE
            )
            ours = anonymous(run.stdout)
            # Go's last line ends in CRLF CRLF: a terminal shows one empty line
            assert ours.replace("\r\n", "\n") == anonymous(shown), command
    assert read_addresses()
