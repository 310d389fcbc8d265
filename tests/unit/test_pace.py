"""A few in each step of the event loop, in the order in which they came."""

import asyncio

import pytest

from service.node.pace import Pace


async def test_they_go_in_order() -> None:
    pace = Pace(2)
    went: list[int] = []

    async def wait(number: int) -> None:
        await pace.turn()
        went.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(wait(number))
    assert went == list(range(6))


async def test_a_few_go_in_each_step() -> None:
    pace = Pace(2)
    went: list[int] = []
    step = 0
    for _ in range(7):
        pace.in_turn(lambda: went.append(step))
    while len(went) < 7:
        step += 1
        await asyncio.sleep(0)
    assert max(went.count(one) for one in went) <= 2


async def test_one_that_fails_does_not_hold_up_the_others() -> None:
    pace = Pace(1)
    went = asyncio.Event()
    failures: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    try:
        pace.in_turn(lambda: pytest.fail("on purpose"))
        pace.in_turn(went.set)
        await asyncio.wait_for(went.wait(), 5)
    finally:
        loop.set_exception_handler(before)
    assert len(failures) == 1


async def test_it_is_quiet_once_nobody_waits() -> None:
    pace = Pace(1)
    await pace.quiet(0)
    went: list[int] = []
    for number in range(5):
        pace.in_turn(lambda number=number: went.append(number))  # type: ignore[misc]
    await pace.quiet(5)
    assert went == [0, 1, 2, 3, 4]
