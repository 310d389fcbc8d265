"""What refers to itself is found in the end, though what is old is set aside."""

import asyncio
import gc
import weakref

import pytest

from service import garbage
from tests.waiting import until


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own = self


async def test_what_was_set_aside_is_looked_through_once_enough_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "_LOOK_SECONDS", 0.001)
    ended = 0

    async def quiet(_: float) -> None:
        await asyncio.sleep(0)

    before = gc.get_threshold()
    with garbage.set_aside():
        knot = Knot()
        found = weakref.ref(knot)
        gc.collect(0)  # it lives, and is set aside
        del knot
        gc.collect()
        assert found() is not None, "nobody has looked at what is old"
        looking = asyncio.create_task(garbage.look_through(lambda: ended, quiet))
        await asyncio.sleep(0.05)
        assert found() is not None, "nothing has ended yet"
        ended = 5_000
        await until(lambda: found() is None, timeout=20, what="the look through everything")
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert gc.get_threshold() == before
