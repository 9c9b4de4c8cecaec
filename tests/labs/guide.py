"""The guide's pages as data: the commands in their console blocks, and the output below."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.labs.manifests import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(set(DOCS.glob("*.md")) - {DOCS / "architecture.md"})  # about the servers' code
_PROMPT = re.compile(r"^(utils)?\$ ", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """One command, and the lines shown below it."""

    page: str
    inside: bool  # typed in the utils pod's shell
    command: str
    output: str

    def __str__(self) -> str:
        return f"{self.page}: {self.command}"


def examples(page: Path) -> list[Example]:
    """All commands of a page, in order."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        assert _PROMPT.match(block), f"{page.name}: a console block starts with a prompt: {block[:60]!r}"
        _, *parts = _PROMPT.split(block)
        for inside, text in zip(parts[::2], parts[1::2], strict=True):
            command, _, output = text.partition("\n")
            found.append(Example(page.name, bool(inside), command, output))
    return found


def everything_typed() -> list[Example]:
    """The examples of all pages."""
    return [example for page in PAGES for example in examples(page)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
