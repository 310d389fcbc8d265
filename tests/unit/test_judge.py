"""Judging other runners, on twins: their tasks end once, whoever judges."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lastseen.record import encode
from lastseen.task_events import Outcome, TaskEvents
from pydantic_core import from_json

from consumers.running.judge import Judge
from service.adapters.memory import MemoryLog
from service.adapters.memory_leases import MemoryLeases
from service.adapters.memory_rights import MemoryRights
from service.domain.duplicates import LookBack
from service.domain.records import read_record
from service.ports import Claim
from tests.nodes import Message
from tests.waiting import until

PATIENCE = 0.6


async def counting(log: MemoryLog) -> list[Message]:
    """The events that count."""
    look_back, found = LookBack(), []
    async for batch in log.read(0, *(await log.bounds())[0]):
        for raw in batch.records:
            record = read_record(raw)
            if look_back.judge(record) is None:
                found.append(from_json(record.value))
    return found


async def end(log: MemoryLog, task: str) -> None:
    """It completes."""
    events = TaskEvents(task, "shop", "ann").ended(Outcome(0, "exit_code"), "running")
    await log.append([encode(event) for event in events])


@asynccontextmanager
async def judging(*judges: Judge) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(judge.run()) for judge in judges]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_tasks_of_a_silent_runner_end_once() -> None:
    log, leases = MemoryLog(1), MemoryLeases()
    rights = MemoryRights(log)
    for runner in ("silent", "alive", "j1", "j2"):
        await leases.begin(runner, runner)
    for number in range(150):
        assert await leases.claim(Claim(f"t{number}", "silent", "c", "ann", "shop"))
    assert await leases.claim(Claim("mine", "alive", "c", "ann", "shop"))
    # These have ended, only the leases were not told; the projection knows of the first.
    await end(log, "t6")
    await rights.project()
    await end(log, "t7")
    judges = [Judge(leases, rights, log, runner, PATIENCE) for runner in ("j1", "j2")]
    assert not any(judge.sees_others for judge in judges)

    async def live() -> None:
        while True:
            for runner in ("alive", "j1", "j2"):
                await leases.renew(runner)
            await asyncio.sleep(0.02)

    living = asyncio.create_task(live())
    async with judging(*judges):

        async def all_have_ended() -> bool:
            return "silent" not in await leases.renewals() and not await leases.lost()

        await until(all_have_ended, what="its claims being ended")
        assert all(judge.sees_others for judge in judges)
    living.cancel()
    events = await counting(log)
    ends = {event["task_id"]: event for event in events if event["type"] in ("task_failed", "task_completed")}
    assert len(ends) == 150 == sum(event["type"] in ("task_failed", "task_completed") for event in events)
    assert ends["t6"]["type"] == ends["t7"]["type"] == "task_completed"
    assert ends["t8"]["data"] == {"reason": "runner_lost"}
    assert (ends["t8"]["project_id"], ends["t8"]["user_id"]) == ("shop", "ann")
    assert "mine" not in ends
    assert set(await leases.renewals()) == {"alive", "j1", "j2"}


async def test_what_is_away_is_tried_again() -> None:
    log, leases = MemoryLog(1), MemoryLeases()
    await leases.begin("silent", "silent")
    await leases.claim(Claim("t", "silent", "c", "ann"))
    log.available = False
    async with judging(Judge(leases, MemoryRights(log), log, "j", PATIENCE)):
        await until(lambda: asyncio.ensure_future(_is_lost(leases)), what="the silent one being lost")
        assert await leases.lost() == [Claim("t", "silent", "c", "ann")], "its end is not in the log"
        log.available = True

        async def has_ended() -> bool:
            return not await leases.lost()

        await until(has_ended, what="the end being told")
    assert [event["type"] for event in await counting(log)] == ["task_status_change", "task_failed"]


async def _is_lost(leases: MemoryLeases) -> bool:
    return "silent" not in await leases.renewals()
