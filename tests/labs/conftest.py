"""The images that the labs run, built once for all tests."""

import pytest

from tests.images.conftest import prefix as prefix


@pytest.fixture(scope="session")
def images(prefix: str) -> dict[str, str]:
    """Builds the images under the manifests' names."""
    return {name: f"{prefix}{name}" for name in ("whoami", "whereami", "utils")}
