"""The JavaScript client, as whoever installs it gets it."""

import pytest

from tests.javascript.node import Package, copied


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """`clients/js` with its tools."""
    return copied(tmp_path_factory.mktemp("javascript"))


@pytest.fixture(scope="session")
def built(package: Package) -> Package:
    """The same, built."""
    package.run("tsdown")
    return package
