"""What refers to itself is found in the end, though what is old is set aside."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from service import garbage
from service.gc_pauses import GcPauses, noted_pauses
from service.node.leftovers import Leftovers
from tests.waiting import until


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own: Knot | None = self


def set_aside_knot() -> "weakref.ref[Knot]":
    """One that nobody has, and that was set aside before."""
    knot = Knot()
    gc.collect(0)  # it lives
    return weakref.ref(knot)


@contextmanager
def looking(left: Callable[[], int]) -> Iterator[None]:
    async def quiet(_: float) -> None:
        await asyncio.sleep(0)

    before = gc.get_threshold()
    with garbage.set_aside(), pytest.MonkeyPatch.context() as patch:
        # However much this process has.
        patch.setattr(garbage, "_LONGEST_SECONDS", 60.0)
        task = asyncio.create_task(garbage.look_through(left, quiet))
        yield
        task.cancel()
    assert gc.get_threshold() == before


async def test_what_was_set_aside_is_looked_through_once_what_has_ended_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "_LOOK_SECONDS", 0.001)
    left = asked = 0

    def count() -> int:
        nonlocal asked
        asked += 1
        return left

    with looking(count):
        knot = set_aside_knot()
        gc.collect()
        await until(lambda: asked > 10, what="some looks at what is left")
        assert knot() is not None, "nobody has looked at what is old"
        left = 500
        await until(lambda: knot() is None, timeout=20, what="the look through everything")


async def test_or_after_a_time_in_which_much_garbage_was_found_among_what_was_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(garbage, "_SECONDS", 0.0)
    monkeypatch.setattr(garbage, "_FOUND", 1_000)
    asked = 0

    def count() -> int:
        nonlocal asked
        asked += 1
        return 0

    with looking(count):
        knot = set_aside_knot()
        for _ in range(60):
            gc.collect(0)
        await until(lambda: asked > 10, what="some looks at what is left")
        assert knot() is not None, "nothing was found"
        for _ in range(1_100):
            Knot()
        gc.collect(0)
        await until(lambda: knot() is None, timeout=20, what="the look through everything")


async def test_what_would_take_long_waits_until_it_would_not_or_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(garbage, "_LATER_SECONDS", 0.001)
    monkeypatch.setattr(garbage, "_SECONDS_EACH", 1.0)
    left, asked = 4_999, 0

    def count() -> int:
        nonlocal asked
        asked += 1
        return left

    with looking(count):
        knot = set_aside_knot()
        await until(lambda: asked > 10, what="some looks at what is left")
        assert knot() is not None, "it would take hours"
        left = 5_000
        await until(lambda: knot() is None, timeout=20, what="the look through everything")
        # It was timed: that it would take hours is known to be wrong.
        left = 500
        knot = set_aside_knot()
        await until(lambda: knot() is None, timeout=20, what="another")


def test_pauses_are_counted_by_how_long_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.001, 1.0, 1.07, 2.0, 5.0])
    monkeypatch.setattr("service.gc_pauses.time.perf_counter", lambda: next(times))
    pauses = GcPauses()
    for _ in range(3):
        pauses.note("start", {})
        pauses.note("stop", {})
    assert pauses.counts == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert pauses.seconds == pytest.approx(3.071)
    assert pauses.longest == 3.0


def test_pauses_are_noted_while_that_is_wanted() -> None:
    with noted_pauses() as pauses:
        gc.collect()
    assert sum(pauses.counts) == 1
    assert pauses.longest == pauses.seconds > 0
    gc.collect()
    assert sum(pauses.counts) == 1


def test_what_has_ended_is_left_as_long_as_something_has_it() -> None:
    leftovers = Leftovers()
    kept, knot = Knot(), Knot()
    for one in (kept, knot):
        leftovers.add(one)
    assert leftovers.count() == 0, "it has only just ended"
    del one, knot
    assert leftovers.count() == 2
    gc.collect()
    assert leftovers.count() == 1
    kept.own = None
    del kept
    assert leftovers.count() == 0
    for _ in range(50_000):
        leftovers.add(Knot)
    leftovers.count()
    assert leftovers.count() == 10_000, "of more than that nobody need know"
