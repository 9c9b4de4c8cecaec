"""The README's examples, run as documented."""

import re
import socket
import subprocess
from pathlib import Path

from podkit.pod.netlink import read_addresses
from tests.server import started

README = (Path(__file__).parents[1] / "README.md").read_text()


def console_examples() -> list[tuple[str, str]]:
    """Commands and the output shown for each."""
    examples: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            examples.append((command, output))
    return examples


def anonymous(text: str) -> str:
    """The text without machine-specific values."""
    text = re.sub(r"(IP: .*\n)+", "IP: ...\n", text)
    text = re.sub(r'"ip":\[[^]]*\]', '"ip":[]', text)
    text = re.sub(r"127\.0\.0\.1:\d+|\[::1\]:\d+", "127.0.0.1:1", text)
    text = re.sub(r"localhost:\d+", "localhost:1", text)
    return re.sub(r"curl/[0-9.]+", "curl/8", text).replace(socket.gethostname(), "laptop")


def test_examples_do_what_they_show() -> None:
    """Each curl in the README prints the output below it."""
    examples = console_examples()
    assert len(examples) >= 6
    with started("whoami") as whoami, started("whereami") as whereami:
        for command, shown in examples:
            typed = command.replace(":8080", f":{whoami.port}").replace(":8081", f":{whereami.port}")
            run = subprocess.run(typed, shell=True, capture_output=True, text=True, check=True, timeout=20)
            ours = anonymous(run.stdout)
            # Go's last line ends in CRLF CRLF: a terminal shows one empty line
            assert ours.replace("\r\n", "\n") == anonymous(shown), command
    assert read_addresses()
