"""Away for millions of events: how fast one client catches up with its own among them, and in how much memory."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Self

import psutil
from lastseen.channels import parse_channel
from lastseen.envelope import Event
from lastseen.record import encode

from benchmarks.events import make_event
from benchmarks.log_writer import fill, rate_of_copying
from benchmarks.measured import Pair, Row, in_turn, paired
from benchmarks.processes import NodeProcess, log_writer, node
from benchmarks.replay import streamed
from benchmarks.site import Site
from benchmarks.sockets import connect, count_until, send
from service.adapters.kafka.log import open_log
from service.embedded.free_ports import HOST

OWN_PROJECTS = 4
ONE_IN = 10
_STEP = 20_000
_MIB = 1024 * 1024
_SAMPLE_SECONDS = 0.25


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    amount = site.sized(5_000_000, 40_000)
    own = amount // ONE_IN
    # Only what is in Postgres is read: the window holds next to nothing.
    small = {"LASTSEEN_WINDOW_OFFSETS": "0", "LASTSEEN_WINDOW_BYTES": "1000000"}
    # The node is there all the while: one that started afterwards would first read what no projection has yet.
    async with site.ground() as ground, node(site, ground, **small) as served:
        async with log_writer(site, ground), open_log(ground.kafka, ground.topic) as log:
            started = time.perf_counter()
            copying = asyncio.create_task(rate_of_copying(ground, amount, seconds=1_800))
            for number, events in enumerate(_events(amount), 1):
                await fill(log, [encode(event) for event in events])
                if number % 50 == 0:
                    site.tell(f"appended {number * _STEP:,} events, {time.perf_counter() - started:.0f} s")
            await copying
            site.tell(f"all of them are in Postgres after {time.perf_counter() - started:.0f} s")
        channels = [f"project:own{number}" for number in range(OWN_PROJECTS)]
        postgres = (await site.servers()).supervisor.pids["postgres"]
        held: list[Pair] = []

        async def caught_up() -> float:
            async with _Memory(served, postgres) as memory:
                rate = own / await asyncio.to_thread(_catch_up, served, channels, own)
            held.append(memory.pair)
            return rate

        async def from_sql() -> float:
            return await streamed(ground, [parse_channel(channel) for channel in channels], amount, own)

        ours, sql = await in_turn(min(site.pairs, 3), caught_up, from_sql)
    of_all = f"one client, its {own:,} of {amount:,} events, {OWN_PROJECTS} channels, out of Postgres"
    limit = "the history's query for them streamed by asyncpg through a cursor"
    return [
        Row("away", of_all, "events/s", limit, paired(ours, sql)),
        Row("away", "the same: memory of the node and of Postgres's processes at the peak", "MiB", "before", held),
    ]


def _events(amount: int) -> Iterator[list[Event]]:
    for first in range(0, amount, _STEP):
        yield [
            make_event(f"own{number // ONE_IN % OWN_PROJECTS}" if number % ONE_IN == 0 else f"p{number % 63}", "t")
            for number in range(first, min(first + _STEP, amount))
        ]


def _catch_up(served: NodeProcess, channels: list[str], own: int) -> float:
    """Seconds from the subscribe until the client has caught up; every event is counted, and none is kept."""
    with connect(HOST, served.port, served.token) as connection:
        started = time.perf_counter()
        send(connection, {"type": "subscribe", "channels": channels, "after": "earliest"})
        came = count_until(connection, b'"replay":[', b'"type":"caught_up"')
        seconds = time.perf_counter() - started
    if came != own:
        raise RuntimeError(f"{came} events were replayed, not {own}")
    return seconds


class _Memory:
    """What the node holds, and what Postgres's processes hold for themselves, at its peak; in MiB."""

    def __init__(self, served: NodeProcess, postgres: int) -> None:
        self._node = psutil.Process(served.pid)
        self._postgres = psutil.Process(postgres)
        self._before = self._peak = self._now()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def pair(self) -> Pair:
        """The peak, and what it was before."""
        return Pair(self._peak, self._before)

    async def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, await asyncio.to_thread(self._now))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _now(self) -> float:
        own = 0
        for process in (self._postgres, *self._postgres.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                # Not by `memory_full_info`, which reads all mappings: that alone took a third of a core.
                memory = process.memory_info()
                own += memory.rss - memory.shared
        return (float(self._node.memory_info().rss) + own) / _MIB
