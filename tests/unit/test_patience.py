"""Waiting for a database that hangs."""

import asyncio
from time import monotonic

import pytest

from service.domain.errors import HistoryUnavailable
from service.node.patience import Patience


async def test_an_answer_and_an_error_come_through() -> None:
    async def fail() -> int:
        raise ValueError("no")

    async with asyncio.TaskGroup() as tasks:
        patience = Patience(tasks)
        assert await patience.within(5, asyncio.sleep(0, 7)) == 7
        with pytest.raises(ValueError, match="no"):
            await patience.within(5, fail())


async def test_what_hangs_is_left_and_others_are_given_a_moment_only() -> None:
    answers = asyncio.Event()

    async def hang() -> str:
        await answers.wait()
        return "late"

    async with asyncio.TaskGroup() as tasks:
        patience = Patience(tasks)
        with pytest.raises(HistoryUnavailable):
            await patience.within(0.05, hang())
        began = monotonic()
        with pytest.raises(HistoryUnavailable):
            await patience.within(60, hang())
        assert monotonic() - began < 30
        assert await patience.within(60, asyncio.sleep(0, "quick")) == "quick"
        answers.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await patience.within(60, asyncio.sleep(0.3, "slow")) == "slow", "what was left has ended"


async def test_whoever_asks_may_be_cancelled_and_the_rest_ends_with_the_node() -> None:
    async with asyncio.TaskGroup() as tasks:
        patience = Patience(tasks)
        asking = asyncio.create_task(patience.within(60, asyncio.Event().wait()))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        patience.cancel()
