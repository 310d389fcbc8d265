"""Fan-in: events a CPU second that a node takes while nobody watches, against a bare consumer of the same records.

The node is frozen while they are appended, so it reads what waits for it, and so does the bare consumer: as many at a
time as Kafka gives. The node judges each by the void rule, puts it into its window and learns what it says of rights.
"""

import asyncio
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil
from lastseen.record import NewRecord, encode

from benchmarks.events import make_records, make_starts
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import NodeProcess, node, running
from benchmarks.projects import append_all, until_read
from benchmarks.site import Ground, Site
from service.adapters.kafka.log import KafkaLog, open_log


async def measure(site: Site) -> list[Row]:
    """The row of this benchmark."""
    amount = site.sized(100_000, 5_000)
    async with site.ground() as ground, open_log(ground.kafka, ground.topic) as log, node(site, ground) as served:
        await append_all(log, [encode(event) for event in make_starts()])
        starts: list[Mapping[int, int]] = []

        async def through() -> float:
            starts.append(await until_read(log, served))
            return await _through(log, served, make_records(amount))

        async def bare() -> float:
            return await _bare(site, ground, {p: last + 1 for p, last in starts[-1].items()}, amount)

        ours, limit = await in_turn(site.pairs, through, bare)
    return [
        Row(
            "fan-in",
            f"Kafka → a node that nobody watches, {amount:,} events of 64 tasks that wait",
            "events/CPU-s",
            "a bare aiokafka consumer of the same records, read_committed, in a process of its own",
            paired(ours, limit),
        )
    ]


async def _through(log: KafkaLog, served: NodeProcess, records: Sequence[NewRecord]) -> float:
    """Events for each CPU second of the node."""
    with _frozen(served):
        await append_all(log, records)
        before = served.cpu_seconds()
    await until_read(log, served, every=0.1)
    return len(records) / (served.cpu_seconds() - before)


async def _bare(site: Site, ground: Ground, start: Mapping[int, int], amount: int) -> float:
    order = {"kafka": ground.kafka, "topic": ground.topic, "start": start, "amount": amount}
    async with running(site, "benchmarks.bare_tail", piped=True) as process, asyncio.timeout(60):
        assert process.stdin is not None, "piped"
        assert process.stdout is not None, "piped"
        process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the bare consumer has ended: see its log")
    return amount / float(line)


@contextmanager
def _frozen(served: NodeProcess) -> Iterator[None]:
    process = psutil.Process(served.pid)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
