"""From publishing to the viewer: milliseconds, against a bare produce → consume of the same events.

The viewer is the middle one of many who watch the task, as they are written to; the others only read. The bare one is
measured twice: beside the node, which delivers the same events meanwhile, so that both have the same broker and cores;
and alone, of a topic that no node reads.
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
from benchmarks.crowded import sink
from benchmarks.events import make_event
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import VIEWED, NodeProcess, node, running
from benchmarks.site import PARTITIONS, Ground, Site
from benchmarks.viewer import SENT
from service.adapters.kafka.log import open_log
from service.adapters.kafka.partitions import partition_of

RATES = (100, 1_000, 5_000)
LOADS = (0.1, 0.5, 0.8)
"""Parts of the rate at which this machine, with everything on it, brings events to all viewers."""
_VIEWERS = 100
_WINDOW_BYTES = 1024 * 1024 * 1024
"""Room for everything that is sent: where viewers come, they look whether there is something for them."""
_LEAST = 1_000
"""Events of which one in a hundred says something."""
_ENOUGH = 10_000
"""Events of which one in a thousand says something."""
_FLAT_OUT, _CALLERS, _BATCH = 40_000, 8, 20
_SENDINGS = 1_000
"""In a second, at most: of higher rates several events are sent at a time, so that sending takes less than a core."""

Send = Callable[[Sequence[NewRecord]], Awaitable[object]]


class Took(NamedTuple):
    """Milliseconds from sending to arrival, and seconds until the last had come."""

    p50: float
    p99: float
    p999: float
    seconds: float


class Setting(NamedTuple):
    """What is compared: a node that serves the topic of `ground`, and how to send to a topic."""

    site: Site
    ground: Ground
    quiet: Ground
    """With a topic that no node reads."""
    served: NodeProcess
    append: Send
    produce: Callable[[str], Send]
    """To a topic, without any of ours."""


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    seconds, least = site.sized(4.0, 1.0), site.sized(_LEAST, 50)
    rows: list[Row] = []
    async with (
        site.ground() as ground,
        site.ground() as quiet,
        open_log(ground.kafka, ground.topic) as log,
        node(site, ground, LASTSEEN_WINDOW_BYTES=str(_WINDOW_BYTES)) as served,
    ):
        producer = bare_producer(ground.kafka)
        await producer.start()
        try:

            def produce_to(topic: str) -> Send:
                async def produce(records: Sequence[NewRecord]) -> object:
                    sent = [
                        await producer.send(topic, value, key, partition_of(key, PARTITIONS), headers=list(headers))
                        for key, value, headers in records
                    ]
                    return await asyncio.gather(*sent)

                return produce

            setting = Setting(site, ground, quiet, served, log.append, produce_to)
            async with _others(site, served, site.sized(_VIEWERS, 4) // 2 - 1):
                for rate in RATES:
                    told = f"{rate:,} events/s"
                    rows += await _compare(setting, rate, max(int(rate * seconds), least), told)
                most = await _most(site, served, log.append, site.sized(_FLAT_OUT, 1_000))
                site.tell(f"latency: at most {most:,.0f} events/s to {site.sized(_VIEWERS, 4)} viewers")
                for load in LOADS:
                    rate, told = int(most * load), f"{load:.0%} of {most:,.0f} events/s"
                    rows += await _compare(setting, rate, int(rate * seconds / 2), told)
        finally:
            await producer.stop()
    return rows


_CUTS: Mapping[str, Callable[[Took], float]] = {
    "p50": lambda took: took.p50,
    "p99": lambda took: took.p99,
    "p99.9": lambda took: took.p999,
}


@asynccontextmanager
async def _others(site: Site, served: NodeProcess, amount: int) -> AsyncIterator[None]:
    """Viewers who take what comes, and do nothing with it. Raises RuntimeError where they are gone at the end."""
    async with sink(site, sockets=amount, **served.viewing) as viewers:
        yield
        viewers.check()


async def _compare(setting: Setting, rate: int, amount: int, told: str) -> list[Row]:
    site, served = setting.site, setting.served
    viewers = site.sized(_VIEWERS, 4)

    async def ours() -> Took:
        behind = _others(site, served, viewers // 2)
        return await watched(site, served.viewing, setting.append, rate, amount, behind)

    async def bare_of(ground: Ground) -> Took:
        order = {"kafka": ground.kafka, "topic": ground.topic}
        return await watched(site, order, setting.produce(ground.topic), rate, amount)

    took, beside, alone = await in_turn(
        min(site.pairs, 3), ours, lambda: bare_of(setting.ground), lambda: bare_of(setting.quiet)
    )
    bare = "bare aiokafka produce → consume, acks=all, two processes"
    return [
        Row(
            "latency",
            f"append → the middle one of {viewers} viewers, {told}, {name}",
            "ms",
            f"{bare}, {where}",
            paired([take(one) for one in took], [take(one) for one in bares]),
        )
        for name, take in _CUTS.items()
        for where, bares in (("beside the node", beside), ("alone", alone))
        if name != "p99.9" or amount >= _ENOUGH
    ]


async def watched(
    site: Site,
    order: Mapping[str, object],
    send: Send,
    rate: int | None,
    amount: int,
    behind: AbstractAsyncContextManager[None] | None = None,
) -> Took:
    """Send `amount` events at a steady rate, whatever becomes of them, and ask the viewer how long each took.

    Without a rate, as fast as they are answered. `behind` is entered once the viewer is ready.
    """
    async with running(site, "benchmarks.viewer", piped=True) as viewer, asyncio.timeout(60):
        assert viewer.stdin is not None, "piped"
        assert viewer.stdout is not None, "piped"
        viewer.stdin.write(json.dumps({**order, "amount": amount}).encode() + b"\n")
        if await viewer.stdout.readline() != b"ready\n":
            raise RuntimeError("the viewer did not get ready: see its log")
        async with behind or nullcontext():
            records = [encode(make_event("p", VIEWED)) for _ in range(amount)]
            started = time.perf_counter()
            await (_send_flat_out(send, records) if rate is None else _send_steadily(send, records, rate))
            took = json.loads(await viewer.stdout.readline())
            seconds = time.perf_counter() - started
    cuts = quantiles(took, n=1000)
    return Took(cuts[499], cuts[989], cuts[998], seconds)


async def _most(site: Site, served: NodeProcess, append: Send, amount: int) -> float:
    """Events a second that reach the viewers where some callers send as fast as they are answered."""
    behind = _others(site, served, site.sized(_VIEWERS, 4) // 2)
    took = await watched(site, served.viewing, append, None, amount, behind)
    return amount / took.seconds


async def _send_steadily(send: Send, records: Sequence[NewRecord], rate: int) -> None:
    at_once = max(1, rate // _SENDINGS)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as sending:
        for number in range(0, len(records), at_once):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            sending.create_task(_send_now(send, records[number : number + at_once]))


async def _send_flat_out(send: Send, records: Sequence[NewRecord]) -> None:
    batches = iter(range(0, len(records), _BATCH))

    async def call() -> None:
        for at in batches:
            await _send_now(send, records[at : at + _BATCH])

    async with asyncio.TaskGroup() as sending:
        for _ in range(_CALLERS):
            sending.create_task(call())


async def _send_now(send: Send, records: Sequence[NewRecord]) -> None:
    mark = (SENT % time.monotonic_ns()).encode()
    marked = [record._replace(value=record.value.replace(b"x" * len(mark), mark, 1)) for record in records]
    if not all(mark in record.value for record in marked):
        raise ValueError("an event has no room for the time of its sending")
    await send(marked)
