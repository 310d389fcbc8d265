"""What the schedules run against: nodes that restart, a log writer that pauses, and a log that grows all the while."""

import asyncio
import os
import signal
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from lastseen.envelope import Event
from lastseen.record import NewRecord, encode

from service.adapters.kafka.log import KafkaLog, open_log
from tests.checker import Checker
from tests.freezing import freeze, thaw
from tests.module_process import ModuleProcess
from tests.nodes import Ground, NodeProcess
from tests.waiting import until

PROJECTS: Final = 6
TASKS: Final = 3
"""Of each project, at a time."""
WINDOW_BYTES: Final = 150_000
"""Less than a second of the load: whoever was away longer needs Postgres, or Kafka."""
SETTINGS: Final = {
    "heartbeat_seconds": 1,
    "heartbeat_timeout_seconds": 30,
    "window_bytes": WINDOW_BYTES,
    "window_offsets": 50,
    "high_water_bytes": 8192,
    "presence_grace_seconds": 1,
}
_LOOK_SECONDS: Final = 0.05
_RECORD_OVERHEAD: Final = 450
_SLACK_SECONDS: Final = 0.5
"""How far a node may be behind the log."""

Source = Literal["Postgres", "Kafka", "any"]


class Asking(NamedTuple):
    """What was known of the servers when somebody asked for a replay."""

    at: float
    written: dict[int, int]


@dataclass
class Site:
    """Made by `open_site`."""

    ground: Ground
    nodes: list[NodeProcess]
    random: Random
    log: KafkaLog
    checker: Checker
    log_writer: ModuleProcess
    sql: asyncpg.Connection
    events_per_second: float
    users: list[str] = field(default_factory=list)
    """Who is following now: they get notifications."""
    published: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    pauses: int = 0
    read_upto: dict[int, int] = field(default_factory=dict)
    """Per partition how far the checker has read."""
    held: dict[int, int] = field(default_factory=dict)
    """Per partition the offset below which the log surely holds everything that was asked of it."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing goes wrong any more."""
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _written: dict[int, int] = field(default_factory=dict)
    _frozen_since: float | None = None
    _frozen: dict[int, int] = field(default_factory=dict)
    _times: list[float] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=lambda: [0])
    """Bytes in the log by then."""
    _size_at: dict[tuple[int, int], int] = field(default_factory=dict)
    _running: list[str] = field(default_factory=list)
    _ended: list[str] = field(default_factory=list)
    _old: list[NewRecord] = field(default_factory=list)

    @property
    def logged_bytes(self) -> int:
        """What has been published, by the measure of a window."""
        return self._sizes[-1]

    async def heads(self) -> dict[int, int]:
        """What the log holds now: per partition the offset that comes next."""
        return {partition: bounds.next for partition, bounds in (await self.log.bounds()).items()}

    async def read_to(self, head: dict[int, int]) -> None:
        """Wait until the checker has read so far."""
        await until(
            lambda: all(self.read_upto.get(p, 0) >= next_ for p, next_ in head.items()), timeout=60, what="the checker"
        )

    def some_channel(self, random: Random, user: str) -> str:
        """One that somebody may follow; most of them run, and all of them share the partitions."""
        project = f"project:p{random.randrange(PROJECTS)}"
        match random.randrange(20):
            case 0:
                return f"user:{user}"
            case 1:
                return random.choice(["broadcast", "system"])
            case 2 | 3 if self._ended:
                return f"task:{random.choice(self._ended[-20:])}"
            case n if n < 10 and self._running:
                return f"task:{random.choice(self._running)}"
        return project

    def ask(self) -> Asking:
        """Somebody asks for a replay now."""
        return Asking(time.monotonic(), dict(self._written))

    def source(self, asking: Asking, partition: int, offset: int) -> Source:
        """Where a replayed event must have come from, as far as that can be said from outside."""
        behind = self._sizes[bisect_right(self._times, asking.at - _SLACK_SECONDS)]
        if behind - self._size_at.get((partition, offset), behind) < WINDOW_BYTES:
            return "any"
        if offset < asking.written.get(partition, 0):
            return "Postgres"
        is_frozen = self._frozen_since is not None and self._frozen_since < asking.at
        return "Kafka" if is_frozen and offset >= self._frozen.get(partition, 0) else "any"

    async def publish(self) -> None:
        """Append at a constant rate, until cancelled."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            records = self._some_records(self.random.choice([1, 2, 5, 20]))
            due += len(records) / self.events_per_second
            places = await self.log.append(records)
            self.published += len(places)
            for record, place in zip(records, places, strict=True):
                size = self._sizes[-1] + len(record.value) + _RECORD_OVERHEAD
                self._times.append(time.monotonic())
                self._sizes.append(size)
                self._size_at[place.partition, place.offset] = size
                self.held[place.partition] = max(self.held.get(place.partition, 0), place.offset + 1)
            await asyncio.sleep(max(0.0, due - clock()))

    async def pause_the_log_writer(self) -> None:
        """Freeze it now and then, for longer than the window reaches back, until cancelled."""
        while True:
            await asyncio.sleep(self.random.uniform(1, 4))
            try:
                freeze(self.log_writer.pid)
                # What it has sent off may still be committed.
                await asyncio.sleep(0.1)
                self._frozen = await self._look_at_written()
                self._frozen_since = time.monotonic()
                self.pauses += 1
                await asyncio.sleep(self.random.uniform(1, 5))
            finally:
                self._frozen_since = None
                thaw(self.log_writer.pid)

    async def restart_nodes(self, every: float) -> None:
        """End a node and start it again, every so many seconds, until it is over. The others serve meanwhile."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.random.uniform(0.5, 1.5) * every):
                    await self.over.wait()
                    return
            node, how = self.random.choice(self.nodes), self.random.choice([signal.SIGTERM, signal.SIGKILL])
            await node.stop(how)
            self.restarts[how.name] += 1
            await node.start()

    async def look(self) -> None:
        """Keep up with how far the log writer has come, until cancelled."""
        while True:
            self._written = await self._look_at_written()
            await asyncio.sleep(_LOOK_SECONDS)

    async def read_along(self) -> None:
        """Hand the checker whatever the topic holds, by a bare consumer, until cancelled."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.ground.kafka, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            tps = [TopicPartition(self.ground.topic, partition) for partition in range(self.log.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            while True:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        self.checker.add(record)
                for tp in tps:
                    self.read_upto[tp.partition] = await consumer.position(tp)
        finally:
            await consumer.stop()

    async def _look_at_written(self) -> dict[int, int]:
        query = "SELECT partition, next_offset FROM projection_offset WHERE projection = 'log'"
        async with self._looking:
            return dict(map(tuple, await self.sql.fetch(query)))

    def _some_records(self, count: int) -> list[NewRecord]:
        records = []
        for _ in range(count):
            if self._old and self.random.random() < 0.03:
                # A producer that did not hear that it was there: void.
                records.append(self.random.choice(self._old[-50:]))
                continue
            records.append(encode(Event.model_validate(self._some_event())))
            self._old.append(records[-1])
        del self._old[:-50]
        return records

    def _some_event(self) -> dict[str, Any]:
        random, number = self.random, self.published
        size = random.choice([0] * 80 + [2_000] * 19 + [20_000])
        data = {"number": number, "text": os.urandom(size // 2).hex()}
        if len(self._running) < PROJECTS * TASKS:
            task = f"t{len(self._ended) + len(self._running)}"
            self._running.append(task)
            return {**self._of(task), "type": "task_started", "user_id": f"owner{number % 5}", "data": data}
        match random.randrange(100):
            case n if n < 2:
                task = self._running.pop(random.randrange(len(self._running)))
                self._ended.append(task)
                return {**self._of(task), "type": random.choice(["task_completed", "task_failed"])}
            case n if n < 5 and self._ended:
                # Somebody who does not know that it has ended: void.
                return {**self._of(random.choice(self._ended[-5:])), "type": "task_output", "data": data}
            case n if n < 15 and self.users:
                return {"type": "user_notification", "user_id": random.choice(self.users), "data": data}
            case n if n < 17:
                return {"type": "system_maintenance_start", "priority": random.choice([5, 9]), "data": data}
            case n if n < 35:
                return {"type": "project_updated", "project_id": f"p{random.randrange(PROJECTS)}", "data": data}
            case _:
                return {**self._of(random.choice(self._running)), "type": "task_output", "data": data}

    def _of(self, task: str) -> dict[str, Any]:
        return {"task_id": task, "project_id": f"p{int(task[1:]) % PROJECTS}"}


@asynccontextmanager
async def open_site(
    ground: Ground, random: Random, *, nodes: int, events_per_second: float, restart_every: float
) -> AsyncIterator[Site]:
    """Everything runs, goes wrong now and then, and is under load."""
    async with AsyncExitStack() as stack:
        log_writer = await stack.enter_async_context(ground.log_writer())
        await stack.enter_async_context(ground.projections())
        log = await stack.enter_async_context(open_log(ground.kafka, ground.topic))
        starting = [stack.enter_async_context(ground.node(f"node-{n}", **SETTINGS)) for n in range(1, nodes + 1)]
        running = list(await asyncio.gather(*starting))
        checker = Checker(look_back=10_000, trust_claims=False)
        for partition in range(log.partitions):
            checker.begin(partition)
        sql = await asyncpg.connect(ground.database_url)
        stack.push_async_callback(sql.close)
        site = Site(ground, running, random, log, checker, log_writer, sql, events_per_second)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(site.restart_nodes(restart_every))
            doing = [site.publish(), site.pause_the_log_writer(), site.look(), site.read_along()]
            running_tasks = [tasks.create_task(what) for what in doing]
            await until(lambda: site.logged_bytes > WINDOW_BYTES, what="more in the log than a window holds")
            yield site
            site.over.set()
            for task in running_tasks:
                task.cancel()
