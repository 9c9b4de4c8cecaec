"""Servers that tests share (a test that changes one starts its own), and what a run tells at its end."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.needs import require
from tests.server import Server, started


@pytest.fixture(scope="session")
def whoami() -> Iterator[Server]:
    """A whoami with its defaults."""
    with started("whoami") as server:
        yield server


@pytest.fixture(scope="session")
def whereami() -> Iterator[Server]:
    """A whereami on a node of that name."""
    with started("whereami", env={"nodename": "node1"}) as server:
        yield server


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check what a test needs before its fixtures are made."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines how many tests were skipped, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)
