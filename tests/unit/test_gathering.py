"""Questions that many ask at the same time are asked together, and nobody's leaving is felt by another."""

import asyncio
from collections.abc import Sequence

import pytest

from service.adapters.postgres import gathering
from service.adapters.postgres.gathering import Gathered
from tests.waiting import until


class Asked:
    """What is asked: each question's answer is its double, once it is let go."""

    def __init__(self, most: int = 100) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.fault: Exception | None = None
        self.gathered = Gathered(self._ask, most)

    async def _ask(self, questions: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(questions))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return [2 * question for question in questions]


async def test_what_comes_while_others_are_asked_is_asked_together() -> None:
    asked = Asked(most=3)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(asked.gathered.ask(1))
        await until(lambda: asked.batches == [[1]], what="the first question")
        later = [tasks.create_task(asked.gathered.ask(number)) for number in range(2, 7)]
        await asyncio.sleep(0)
        asked.gate.set()
    assert [first.result(), *(one.result() for one in later)] == [2, 4, 6, 8, 10, 12]
    assert asked.batches == [[1], [2, 3, 4], [5, 6]]
    assert await asked.gathered.ask(7) == 14


async def test_who_stops_waiting_takes_the_answer_from_nobody() -> None:
    asked = Asked()
    first = asyncio.create_task(asked.gathered.ask(1))
    await until(lambda: asked.batches == [[1]], what="the first question")
    second, third = (asyncio.create_task(asked.gathered.ask(number)) for number in (2, 3))
    await asyncio.sleep(0)
    for gone in (first, second):
        gone.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    asked.gate.set()
    assert await third == 6
    assert asked.batches == [[1], [3]]


async def test_what_asking_raises_all_get_and_the_next_are_asked() -> None:
    asked = Asked()
    asked.fault = ConnectionError("away")
    both = [asyncio.create_task(asked.gathered.ask(number)) for number in (1, 2)]
    await until(lambda: asked.batches == [[1, 2]], what="both questions")
    asked.gate.set()
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert outcomes == [asked.fault, asked.fault]
    asked.fault = None
    assert await asked.gathered.ask(3) == 6


async def test_where_an_answer_is_late_others_are_asked_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_LATE_SECONDS", -1.0)
    asked = Asked()
    async with asyncio.TaskGroup() as tasks:
        asking = []
        for number in range(6):
            asking.append(tasks.create_task(asked.gathered.ask(number)))
            await asyncio.sleep(0)  # until it has asked
            await asyncio.sleep(0)  # until its question is asked
        asked.gate.set()
    assert [one.result() for one in asking] == [0, 2, 4, 6, 8, 10]
    assert asked.batches == [[0], [1], [2], [3], [4, 5]]


async def test_where_the_program_ends_nobody_waits_for_ever() -> None:
    asked = Asked()
    waiting = [asyncio.create_task(asked.gathered.ask(number)) for number in (1, 2)]
    await until(lambda: bool(asked.batches), what="the questions")
    late = asyncio.create_task(asked.gathered.ask(3))
    await asyncio.sleep(0)
    (asking,) = [task for task in asyncio.all_tasks() if task.get_name() == "gathered questions"]
    asking.cancel()
    for one in (*waiting, late):
        with pytest.raises(asyncio.CancelledError):
            await one
