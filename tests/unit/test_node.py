"""A node from its start to its end, on the twins of log and history."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

import pytest

from service.adapters.clock import SystemClock
from service.adapters.memory import MemoryLog, MemoryTail
from service.domain.errors import OffsetsGone
from service.node.node import running
from service.ports import Epoch
from service.settings import Settings
from tests.outside import outside_of


async def for_ever() -> None:
    async with asyncio.timeout(10):
        await asyncio.Event().wait()


async def test_a_node_whose_log_has_moved_on_ends_and_says_why() -> None:
    log = MemoryLog(1)

    async def run() -> None:
        async with running(Settings(), outside_of(log, SystemClock()), Epoch(1, "e", 1)):
            log.available = False
            log.skip(0, 5)
            log.drop_below(0, 5)
            log.available = True
            await for_ever()

    before = asyncio.all_tasks()
    with pytest.raises(OffsetsGone, match="0 was asked for"):
        await run()
    assert asyncio.all_tasks() == before, "nothing of it goes on"


async def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    log = MemoryLog(1)

    async def run() -> None:
        async with running(Settings(), outside_of(log, SystemClock()), Epoch(1, "e", 1)) as node:
            node.tail.step = None  # type: ignore[method-assign, assignment]
            log.skip(0)
            await for_ever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(TypeError)


async def test_what_the_driver_cancels_by_itself_does_not_end_the_tail() -> None:
    class Cancelling(MemoryLog):
        tails = 0

        def tail(self, start: Mapping[int, int]) -> AbstractAsyncContextManager[MemoryTail]:  # type: ignore[override]
            self.tails += 1
            if self.tails == 1:
                raise asyncio.CancelledError
            return super().tail(start)

    log = Cancelling(1)
    async with asyncio.timeout(10), running(Settings(), outside_of(log, SystemClock()), Epoch(1, "e", 1)) as node:
        log.skip(0)
        await node.services.head.passed({0: 0})
    assert log.tails == 2
