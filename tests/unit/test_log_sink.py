"""Where a task's events go: in order, over every interruption, bounded."""

import asyncio
from collections.abc import Sequence

import pytest
from lastseen.backoff import Backoff
from lastseen.envelope import Event
from lastseen.errors import BadRequest, Closed
from lastseen.record import NewRecord

from service.adapters.kafka.sink import MAX_QUEUED, LogSink
from service.adapters.memory import MemoryLog
from service.domain.errors import BadRequest as RefusedRecord
from service.domain.errors import LogUnavailable
from service.domain.records import read_record
from service.ports import Place


class FaultyLog(MemoryLog):
    """A log that appends and then fails, as often as `fails` says; it takes no record with `refused` in it."""

    fails = 0
    refused = b"no such text"

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Place]:
        if any(self.refused in record.value for record in records):
            raise RefusedRecord("too large for the brokers", code="too_large")
        places = await super().append(records)
        if self.fails:
            self.fails -= 1
            raise LogUnavailable("no answer came")
        return places

    async def numbers(self) -> list[int]:
        """Of the records that count, in their order."""
        seen: dict[str, int] = {}
        for partition, held in (await self.bounds()).items():
            async for batch in self.read(partition, *held):
                for raw in batch.records:
                    record = read_record(raw)
                    seen.setdefault(record.id, int(record.value.split(b'"n":')[1].split(b"}")[0]))
        return list(seen.values())


def event(number: int, text: str = "") -> Event:
    return Event.model_validate({"type": "task_output", "task_id": "t", "data": {"text": text, "n": number}})


async def admit() -> None:
    """Always."""


def sink(log: MemoryLog) -> LogSink:
    return LogSink(log, 10_000, admit, Backoff(base=0.001, cap=0.002))


async def test_events_come_in_order_and_count_once() -> None:
    log = FaultyLog()
    log.fails = 3
    async with sink(log) as out:
        places = [await out.submit(event(number)) for number in range(100)]
    assert await log.numbers() == list(range(100))
    offsets = [place.result().offset for place in places]
    assert offsets == sorted(offsets)
    assert sum(held.next for held in (await log.bounds()).values()) > 100, "some were appended more than once"


async def test_who_finds_no_room_waits_until_the_log_is_back() -> None:
    log = FaultyLog()
    log.available = False
    async with sink(log) as out:
        submitted = 0

        async def flood() -> None:
            nonlocal submitted
            for number in range(3 * MAX_QUEUED):
                await out.submit(event(number))
                submitted += 1

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait([flooding], timeout=0.2)
        assert not done
        assert submitted <= 2 * MAX_QUEUED
        log.available = True
        await flooding
        await out.flush()
        assert len(await log.numbers()) == 3 * MAX_QUEUED


async def test_a_refused_event_is_refused_alone() -> None:
    log = FaultyLog()
    log.refused = b"monster"
    async with sink(log) as out:
        places = [await out.submit(event(n, "monster" if n == 4 else "")) for n in range(9)]
        with pytest.raises(BadRequest, match="at most 10000 are accepted"):
            await out.submit(event(9, "x" * 10_000))
        with pytest.raises(BadRequest, match="NUL"):
            await out.submit(event(9, "\0"))
    with pytest.raises(BadRequest, match="brokers"):
        places[4].result()
    assert await log.numbers() == [0, 1, 2, 3, 5, 6, 7, 8]


async def test_nothing_is_appended_that_is_not_admitted() -> None:
    log = FaultyLog()
    certain, asked = asyncio.Event(), asyncio.Event()
    lost = False

    async def admit() -> None:
        asked.set()
        await certain.wait()
        if lost:
            raise Closed("the lease is lost")

    async with LogSink(log, 10_000, admit) as out:
        waiting = await out.submit(event(1))
        await asked.wait()
        assert await log.numbers() == []
        certain.set()
        await waiting
        lost = True
        refused = await out.submit(event(2))
        with pytest.raises(Closed):
            await refused
        with pytest.raises(Closed):
            await out.submit(event(3))
        await out.flush()
    assert await log.numbers() == [1]


async def test_closed_it_says_nothing_more_and_keeps_nobody_waiting() -> None:
    log = FaultyLog()
    log.available = False
    async with sink(log) as out:
        places = [await out.submit(event(number)) for number in range(MAX_QUEUED // 2)]
        flushing = asyncio.create_task(out.flush())
        await asyncio.sleep(0)
        out.close()
        await flushing
        log.available = True
        assert all(isinstance(place.exception(), Closed) for place in places)
    assert await log.numbers() == []
