"""What a signal ends, whatever the work makes of it."""

import asyncio
from contextlib import suppress

import pytest

from consumers.runner_loop import keep_working, work_side_by_side
from service.domain.errors import HistoryUnavailable


async def test_work_whose_driver_swallows_the_cancellation_while_it_closes_ends_all_the_same() -> None:
    closing = asyncio.Event()

    async def work() -> None:
        closing.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        raise HistoryUnavailable("Postgres can't be reached")

    working = asyncio.create_task(keep_working("some-consumer", work))
    await closing.wait()
    working.cancel()
    done, _ = await asyncio.wait([working], timeout=10)
    assert done
    assert working.cancelled()


async def test_work_that_ends_as_if_nothing_were_is_not_begun_again() -> None:
    begun: list[str] = []
    waits = asyncio.Event()

    async def work() -> None:
        begun.append("work")
        waits.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    working = asyncio.create_task(keep_working("some-consumer", work))
    await waits.wait()
    working.cancel()
    done, _ = await asyncio.wait([working], timeout=10)
    assert done
    assert working.cancelled()
    assert begun == ["work"]


async def test_a_second_signal_ends_the_cleaning_up_of_each_of_several() -> None:
    cleaning: set[str] = set()

    async def clean(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.add(name)
            await asyncio.Event().wait()

    working = asyncio.create_task(work_side_by_side("some-consumer", [lambda: clean("one"), lambda: clean("other")]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    working.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert cleaning == {"one", "other"}
    assert not working.done()
    working.cancel()
    done, _ = await asyncio.wait([working], timeout=10)
    assert done
    assert working.cancelled()


async def test_of_several_the_last_to_clean_up_is_waited_for() -> None:
    goes_on = asyncio.Event()
    ended: list[str] = []

    async def quick() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("quick")

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await goes_on.wait()
            ended.append("slow")

    working = asyncio.create_task(work_side_by_side("some-consumer", [quick, slow]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    working.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert ended == ["quick"]
    assert not working.done()
    goes_on.set()
    done, _ = await asyncio.wait([working], timeout=10)
    assert done
    assert working.cancelled()
    assert ended == ["quick", "slow"]


async def test_an_error_in_one_of_several_comes_out() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        await work_side_by_side("some-consumer", [wait, fail])
