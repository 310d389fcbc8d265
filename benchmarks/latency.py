"""From publishing to the viewer: milliseconds, against a bare produce → consume of the same events.

The viewer is the middle one of many who watch the task, as they are written to; the others only read.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from statistics import quantiles
from typing import NamedTuple

from lastseen.record import NewRecord, encode

from benchmarks.append import bare_producer
from benchmarks.events import make_event
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import VIEWED, NodeProcess, node, running
from benchmarks.site import PARTITIONS, Ground, Site
from benchmarks.viewer import SENT
from service.adapters.kafka.log import open_log
from service.adapters.kafka.partitions import partition_of

RATES = (100, 1_000, 5_000)
_VIEWERS = 100
_SENDINGS = 1_000
"""In a second, at most: of higher rates several events are sent at a time, so that sending takes less than a core."""

Send = Callable[[Sequence[NewRecord]], Awaitable[object]]


class Took(NamedTuple):
    """Milliseconds from sending to arrival."""

    p50: float
    p99: float


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    seconds = site.sized(4.0, 1.0)
    rows: list[Row] = []
    async with site.ground() as ground, open_log(ground.kafka, ground.topic) as log, node(site, ground) as served:
        producer = bare_producer(ground.kafka)
        await producer.start()
        try:

            async def produce(records: Sequence[NewRecord]) -> object:
                sent = [
                    await producer.send(ground.topic, value, key, partition_of(key, PARTITIONS), headers=list(headers))
                    for key, value, headers in records
                ]
                return await asyncio.gather(*sent)

            async with _others(site, served, site.sized(_VIEWERS, 4) // 2 - 1):
                for rate in RATES:
                    rows += await _compare(site, ground, served, log.append, produce, rate, int(rate * seconds))
        finally:
            await producer.stop()
    return rows


@asynccontextmanager
async def _others(site: Site, served: NodeProcess, amount: int) -> AsyncIterator[None]:
    """Viewers who take what comes, and do nothing with it."""
    async with running(site, "benchmarks.sink", piped=True) as sink:
        assert sink.stdin is not None, "piped"
        assert sink.stdout is not None, "piped"
        sink.stdin.write(json.dumps({**served.viewing, "sockets": amount}).encode() + b"\n")
        if await sink.stdout.readline() != b"ready\n":
            raise RuntimeError("the sink did not get ready: see its log")
        yield


async def _compare(
    site: Site, ground: Ground, served: NodeProcess, append: Send, produce: Send, rate: int, amount: int
) -> list[Row]:
    viewers = site.sized(_VIEWERS, 4)

    async def ours() -> Took:
        behind = _others(site, served, viewers // 2)
        return await watched(site, served.viewing, append, rate, amount, behind)

    async def bare() -> Took:
        return await watched(site, {"kafka": ground.kafka, "topic": ground.topic}, produce, rate, amount)

    took, took_bare = await in_turn(min(site.pairs, 3), ours, bare)
    limit = "bare aiokafka produce → consume, acks=all, two processes"
    return [
        Row(
            "latency",
            f"append → the middle one of {viewers} viewers, {rate:,} events/s, {name}",
            "ms",
            limit,
            paired(mine, bares),
        )
        for name, mine, bares in (
            ("p50", [one.p50 for one in took], [one.p50 for one in took_bare]),
            ("p99", [one.p99 for one in took], [one.p99 for one in took_bare]),
        )
    ]


async def watched(
    site: Site,
    order: Mapping[str, object],
    send: Send,
    rate: int,
    amount: int,
    behind: AbstractAsyncContextManager[None] | None = None,
) -> Took:
    """Send `amount` events at a steady rate, whatever becomes of them, and ask the viewer how long each took.

    `behind` is entered once the viewer is ready.
    """
    async with running(site, "benchmarks.viewer", piped=True) as viewer, asyncio.timeout(60):
        assert viewer.stdin is not None, "piped"
        assert viewer.stdout is not None, "piped"
        viewer.stdin.write(json.dumps({**order, "amount": amount}).encode() + b"\n")
        if await viewer.stdout.readline() != b"ready\n":
            raise RuntimeError("the viewer did not get ready: see its log")
        async with behind or nullcontext():
            await _send_steadily(send, [encode(make_event("p", VIEWED)) for _ in range(amount)], rate)
            took = json.loads(await viewer.stdout.readline())
    cuts = quantiles(took, n=100)
    return Took(cuts[49], cuts[98])


async def _send_steadily(send: Send, records: Sequence[NewRecord], rate: int) -> None:
    at_once = max(1, rate // _SENDINGS)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as sending:
        for number in range(0, len(records), at_once):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            sending.create_task(_send_now(send, records[number : number + at_once]))


async def _send_now(send: Send, records: Sequence[NewRecord]) -> None:
    mark = (SENT % time.monotonic_ns()).encode()
    marked = [record._replace(value=record.value.replace(b"x" * len(mark), mark, 1)) for record in records]
    if not all(mark in record.value for record in marked):
        raise ValueError("an event has no room for the time of its sending")
    await send(marked)
