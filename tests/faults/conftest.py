"""One whole instance, as `lastseen up` makes it, that the tests of this folder drive from outside."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.driven import Driven, unexplained
from tests.up_process import Up


@pytest.fixture(scope="session")
async def driven(open_folder: Path) -> AsyncIterator[Driven]:
    """A running instance. After the last test nothing that its processes logged may be unexplained."""
    up = Up(open_folder / "driven", "--no-welcome")
    try:
        await up.start()
        yield Driven(up)
    finally:
        await up.close()
    assert "Traceback" not in up.told
    assert not unexplained(up.data_dir / "logs")
