"""Servers that tests share; a test that changes one starts its own."""

from collections.abc import Iterator

import pytest

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
