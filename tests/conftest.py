"""Servers shared by tests (a test that changes one starts its own), and the report at the end of a run."""

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
    """Starts more workers than CPUs, because most tests wait for timers, servers and browsers."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks container tests, and keeps them in one worker, so that images are built once."""
    for item in items:
        if "prefix" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs("docker"))
            item.add_marker(pytest.mark.xdist_group("docker"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Checks a test's needs before its fixtures are created."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


class Checkout:
    """Checks that tests leave the repository unchanged."""

    def __init__(self) -> None:
        self.before = self.changes()
        self.left: set[str] = set()

    @staticmethod
    def changes() -> set[str]:
        """New and changed files, according to git; none outside a checkout."""
        command = ["git", "-C", str(Path(__file__).parent), "status", "--porcelain"]
        try:
            return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines())
        except FileNotFoundError:
            return set()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails the run if a file is new or changed."""
        self.left = self.changes() - self.before
        if self.left and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Names the files."""
        for change in sorted(self.left):
            terminalreporter.write_line(f"left in the repository: {change}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Watches the repository from the main process, and prepares the environment for tests that call make."""
    os.environ["MAKEFLAGS"] = f"--no-print-directory -- VENV={sys.prefix}"
    os.environ.pop("MAKELEVEL", None)  # otherwise make considers itself part of make test
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Checkout())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Reports how many tests were skipped, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)
