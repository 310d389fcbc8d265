"""Three brokers, each killed while a tail reads: leaders change under it, and it has everything once."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.kafka.topics import ensure_topic
from service.domain.errors import LogUnavailable
from service.embedded.data_dir import open_data_dir
from service.embedded.stack import Stack, running
from service.ports import Place
from tests.events import records_of, task_events
from tests.waiting import until

TIMEOUT = 5.0
TOPIC = "led"
BROKERS = 3
PARTITIONS = 6


class _Told:
    def tell(self, line: str) -> None:
        print(line)

    def fetched(self, had: int, total: int) -> None:
        pass


@pytest.fixture
async def stack(open_folder: Path) -> AsyncIterator[Stack]:
    """Three brokers of this test's own; their supervisor brings a killed one back."""
    with open_data_dir(open_folder / "leaders", brokers=BROKERS) as data_dir:
        async with running(data_dir, progress=_Told(), durable=False) as stack:
            await ensure_topic(stack.kafka, TOPIC, partitions=PARTITIONS, replication=BROKERS)
            yield stack


class Reading:
    """A tail that is followed: what it has given, by partition."""

    def __init__(self) -> None:
        self.offsets: defaultdict[int, list[int]] = defaultdict(list)
        self.next: dict[int, int] = dict.fromkeys(range(PARTITIONS), 0)
        self.opened = 0

    async def follow(self, log: KafkaLog) -> None:
        while True:
            with suppress(LogUnavailable):
                async with log.tail(self.next) as tail:
                    self.opened += 1
                    while True:
                        batch = await tail.read()
                        for record in batch.records:
                            self.offsets[record.partition].append(record.offset)
                        self.next |= batch.next
            await asyncio.sleep(0.05)

    async def reach(self, places: list[Place]) -> None:
        def has_all() -> bool:
            return all(self.next[place.partition] > place.offset for place in places)

        await until(has_all, timeout=60, what="the tail at the end")


async def append_until_done(log: KafkaLog, amount: int) -> list[Place]:
    records = records_of(task_events(amount))
    async with asyncio.timeout(60):
        while True:
            with suppress(LogUnavailable):
                return list(await log.append(records))
            await asyncio.sleep(0.05)


async def test_a_tail_goes_on_with_whoever_leads(stack: Stack) -> None:
    async with open_log(stack.kafka, TOPIC, timeout=TIMEOUT) as log:
        reading = Reading()
        following = asyncio.create_task(reading.follow(log))
        places = await append_until_done(log, 60)
        led: set[int] = set()
        for number in range(1, BROKERS + 1):
            await reading.reach(places)
            leaders = await led_by(log)
            led |= set(leaders.values())
            name = f"kafka-{number}"
            pid = stack.supervisor.pids[name]
            os.kill(pid, signal.SIGKILL)
            places += await append_until_done(log, 60)

            def is_back(name: str = name, pid: int = pid) -> bool:
                return stack.supervisor.pids.get(name) not in (None, pid)

            await until(is_back, timeout=60, what=f"{name} being back")
            places += await append_until_done(log, 60)
        await reading.reach(places)
        assert not following.done(), "the tail goes on"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        ends = {partition: held.next for partition, held in (await log.bounds()).items()}
    print(f"opened {reading.opened} times, led by {sorted(led)}, {sum(ends.values())} records")
    assert len(led) > 1, "more than one broker has led"
    for partition, end in ends.items():
        assert reading.offsets[partition] == list(range(end))


async def led_by(log: KafkaLog) -> Mapping[int, int]:
    """The broker that leads each partition, as soon as all are led."""

    async def all_led() -> Mapping[int, int] | None:
        with suppress(LogUnavailable):
            return {partition: leader.broker for partition, leader in (await log.leaders()).items()}
        return None

    found = await until(all_led, timeout=60, what="a leader of every partition")
    assert found is not None
    return found
