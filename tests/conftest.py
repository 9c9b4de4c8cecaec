"""Servers that tests share (a test that changes one starts its own), and what a run tells at its end."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

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


def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors: most tests wait for timers, servers and browsers."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs in containers; with several processes it stays in one, so that images are built once."""
    for item in items:
        if "prefix" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs("docker"))
            item.add_marker(pytest.mark.xdist_group("docker"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check what a test needs before its fixtures are made."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


class Checkout:
    """Sees to it that tests leave the repository as it was."""

    def __init__(self) -> None:
        self.before = self.changes()
        self.left: set[str] = set()

    @staticmethod
    def changes() -> set[str]:
        """What git tells of new and changed files; nothing outside of a checkout."""
        command = ["git", "-C", str(Path(__file__).parent), "status", "--porcelain"]
        try:
            return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines())
        except FileNotFoundError:
            return set()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run where a file is new or changed."""
        self.left = self.changes() - self.before
        if self.left and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the files."""
        for change in sorted(self.left):
            terminalreporter.write_line(f"left in the repository: {change}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Watch the repository from the process that runs all tests; tests that call make get this environment."""
    os.environ["MAKEFLAGS"] = f"--no-print-directory -- VENV={sys.prefix}"
    os.environ.pop("MAKELEVEL", None)  # else it takes itself for a part of make test
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Checkout())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines how many tests were skipped, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)
