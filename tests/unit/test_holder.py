"""Which starts a runner takes, and whom its tasks obey; on twins, with programs that are run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lastseen.commands import Command, CommandName
from lastseen.task_start import TaskStart
from pydantic_core import from_json

from consumers.running.admission import Admission
from consumers.running.claims import Claims
from consumers.running.guard import Guard
from consumers.running.holder import Holder
from consumers.running.programs import Programs
from service.adapters.kafka.sink import LogSink
from service.adapters.memory import MemoryLog
from service.adapters.memory_leases import MemoryLeases
from service.domain.records import read_record
from service.ports import Claim
from service.running.ending import Patience
from service.settings import Settings
from tests.nodes import Message
from tests.waiting import until


@dataclass
class OwnLease:
    """Held, until it is said to be lost."""

    is_lost: bool = False

    async def admit(self) -> None:
        """At once."""


@dataclass
class Ours:
    """A runner's holder, and what is around it."""

    leases: MemoryLeases
    log: MemoryLog = field(default_factory=lambda: MemoryLog(1))
    lease: OwnLease = field(default_factory=OwnLease)
    has_others: bool = False
    holder: Holder = field(init=False)
    claims: Claims = field(init=False)

    async def events(self, task: str) -> list[Message]:
        found = []
        async for batch in self.log.read(0, *(await self.log.bounds())[0]):
            for raw in batch.records:
                record = read_record(raw)
                if record.task == task:
                    found.append(from_json(record.value))
        return found

    async def types(self, task: str) -> list[str]:
        return [event["type"] for event in await self.events(task)]

    async def has(self, task: str, type_: str) -> bool:
        return type_ in await self.types(task)


def has(ours: Ours, task: str, type_: str) -> Callable[[], "asyncio.Future[bool]"]:
    return lambda: asyncio.ensure_future(ours.has(task, type_))


@asynccontextmanager
async def holding(most: int = 4, leases: MemoryLeases | None = None, runner: str = "a") -> AsyncIterator[Ours]:
    ours = Ours(leases or MemoryLeases())
    await ours.leases.begin(runner, runner)
    async with Guard() as guard:
        ours.claims = Claims(ours.leases)
        ours.holder = Holder(
            runner=runner,
            name=runner,
            most=most,
            claims=ours.claims,
            lease=ours.lease,
            admission=Admission(Settings(allow=("sh *", "true")), {"PATH": "/usr/bin:/bin"}),
            programs=Programs(Patience(0.2, 0.2)),
            guard=guard,
            sink=lambda: LogSink(ours.log, 200_000, ours.lease.admit),
            has_others=lambda: ours.has_others,
        )
        tending = asyncio.create_task(ours.claims.tend())
        yield ours
        ours.lease.is_lost = True
        ours.holder.lose()
        await ours.holder.until_idle()
        assert not tending.done()
        tending.cancel()


def start(task: str, *command: str, seconds: float = 20.0, id_: str = "s", user: str = "ann") -> Command:
    return Command(
        id=id_,
        command=CommandName.START,
        task_id=task,
        user_id=user,
        deadline=datetime.now(UTC) + timedelta(seconds=seconds),
        node="n",
        data=TaskStart(command=command or ("true",)).to_data(),
    )


async def test_a_start_is_run_once_however_often_it_comes() -> None:
    async with holding() as ours:
        first = start("t", "sh", "-c", "sleep 1; echo x")
        for command in (first, first, start("t", "true", user="bob"), start("t", "sh", "-c", "echo y")):
            ours.holder.take(command)
        await until(has(ours, "t", "task_completed"), what="its end")
        events = await ours.events("t")
        told = [event["data"] for event in events]
        assert sum(event["type"] == "task_started" for event in events) == 1
        assert [data.get("text") for data in told if "text" in data] == ["x\n"]
        receipts = [(d["by"], d["state"], d.get("reason")) for d in told if d.get("command") == "task_start"]
        assert receipts[0] == ("ann", "applied", None)
        assert sorted(receipts[1:], key=str) == [
            ("ann", "applied", None),
            ("ann", "rejected", "id_in_use"),
            ("bob", "rejected", "id_in_use"),
        ]
        # Ended, it stays claimed.
        await until(lambda: not ours.claims.unsettled, what="the claim being settled")
        ours.holder.take(first)
        await ours.holder.until_idle()
        assert (await ours.types("t")).count("task_started") == 1


async def test_of_two_runners_one_runs_it() -> None:
    leases = MemoryLeases()
    async with holding(leases=leases) as one, holding(leases=leases, runner="b") as two:
        for number in range(8):
            for ours in (one, two):
                ours.holder.take(start(f"t{number}"))
        for ours in (one, two):
            await ours.holder.until_idle()
        for number in range(8):
            started = [event for ours in (one, two) for event in await ours.types(f"t{number}")]
            assert started.count("task_started") == 1


async def test_a_start_that_finds_no_room_waits_for_it_up_to_its_deadline() -> None:
    async with holding(most=1) as ours:
        ours.holder.take(start("long", "sh", "-c", "sleep 60", "long"))
        await until(has(ours, "long", "task_status_change"), what="the first running")
        ours.holder.take(start("late", seconds=0.2))
        ours.holder.take(start("patient"))
        ours.holder.take(start("past", seconds=-1))
        await asyncio.sleep(0.3)
        assert await ours.types("patient") == []
        ours.holder.cancel("test")
        await until(has(ours, "patient", "task_completed"), what="the one that waited")
        assert await ours.types("late") == await ours.types("past") == []
        for task in ("late", "past"):
            assert await ours.leases.claim(Claim(task, "a", "other", "ann")), "nobody has claimed it"


async def test_while_postgres_is_away_nothing_starts_and_nothing_is_forgotten() -> None:
    async with holding() as ours:
        ours.leases.available = False
        ours.holder.take(start("late", seconds=0.3))
        ours.holder.take(start("patient"))
        await asyncio.sleep(0.5)
        assert await ours.types("patient") == []
        ours.leases.available = True
        await until(has(ours, "patient", "task_completed"), what="the one that waited")
        assert await ours.types("late") == []
        # It may have been claimed without an answer: that is taken back.
        await until(lambda: not ours.claims.unsettled, what="all claims being settled")
        await ours.leases.begin("b", "b")
        assert await ours.leases.claim(Claim("late", "b", "s2", "ann"))


async def test_who_drains_takes_no_start() -> None:
    async with holding(most=1) as ours:
        ours.holder.take(start("runs", "sh", "-c", "sleep 60", "runs"))
        await until(has(ours, "runs", "task_status_change"), what="it running")
        ours.holder.take(start("waits"))
        ours.holder.close()
        ours.holder.take(start("new"))
        ours.holder.cancel("drained")
        await ours.holder.until_idle()
        assert await ours.types("waits") == await ours.types("new") == []
        end = (await ours.events("runs"))[-1]
        assert (end["type"], end["data"]["reason"]) == ("task_cancelled", "drained")


async def test_the_lost_say_nothing_more() -> None:
    async with holding() as ours:
        ours.holder.take(start("runs", "sh", "-c", "echo on; sleep 60", "runs"))
        await until(has(ours, "runs", "task_output"), what="it running")
        before = await ours.types("runs")
        ours.lease.is_lost = True
        ours.holder.lose()
        await ours.holder.until_idle()
        assert await ours.types("runs") == before
        assert [claim.task for claim in await _lost(ours)] == ["runs"], "its end is the judge's to tell"


async def _lost(ours: Ours) -> list[Claim]:
    await ours.leases.leave("a")
    return list(await ours.leases.lost())
