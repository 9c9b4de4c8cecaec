"""What the README shows below a command."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def examples() -> list[tuple[str, str]]:
    """The commands behind a dollar sign, and the output below each."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```(?:console)?\n(\$ .*?)^```", README, re.DOTALL | re.MULTILINE):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            found.append((command, output))
    return found


def shown(start: str) -> tuple[str, str]:
    """The only command that starts so, and its output."""
    (example,) = [example for example in examples() if example[0].startswith(start)]
    return example
