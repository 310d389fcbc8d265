"""Several nodes of one log on this machine, the same subscribers dealt over them, against one node with all of them.

Every node reads the whole topic, so what reading costs comes once for each; what delivering costs does not. Deliveries
for each CPU second of all nodes together say what that leaves, on any number of cores. Deliveries a second are of this
machine, whose cores broker, producer and the subscribers' counters share: where they are few, more nodes aren't faster.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.bursts import CHANNEL, Case, Delivered, deliver, through
from benchmarks.crowded import Sink, sink
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import NodeProcess, node
from benchmarks.site import Site
from benchmarks.waiting import side_by_side
from service.adapters.kafka.log import KafkaLog, open_log

COUNTS: Final = (2, 4)
"""Of nodes, as far as there are cores for them."""
BURSTS: Final = ((1, 300), (8, 240), (32, 160))
"""How many events at once, and how often."""
QUICK_BURSTS: Final = ((8, 5),)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Ready nodes of a topic, and the subscribers of each."""

    log: KafkaLog
    nodes: Sequence[NodeProcess]
    viewers: Sequence[Sink]

    async def deliver(self, case: Case) -> Delivered:
        """Deliver a case to the subscribers of all nodes. Raises RuntimeError where one gets other bytes."""
        return await deliver(case, through(self.log), self.viewers, self._cpu_seconds)

    def _cpu_seconds(self) -> float:
        return sum(one.cpu_seconds() for one in self.nodes)


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    subscribers = site.clients or site.sized(1_000, 20)
    cases = [Case(subscribers, *bursts) for bursts in site.sized(BURSTS, QUICK_BURSTS)]
    counts = [count for count in COUNTS if count <= max(2, os.cpu_count() or 1)]
    async with AsyncExitStack() as stack:
        # The servers must not be started twice.
        await site.servers()
        one, *others = await side_by_side(
            stack.enter_async_context(_cluster(site, count, subscribers)) for count in (1, *counts)
        )
        rows: list[Row] = []
        for case in cases:
            alone, *together = await in_turn(
                site.pairs, partial(one.deliver, case), *(partial(cluster.deliver, case) for cluster in others)
            )
            for count, delivered in zip(counts, together, strict=True):
                rows += _rows(site, case, count, delivered, alone)
    return rows


def _rows(site: Site, case: Case, count: int, together: Sequence[Delivered], alone: Sequence[Delivered]) -> list[Row]:
    what = f"{count} nodes, {case.told}, dealt over them"
    cpu = paired([each.per_cpu_second for each in together], [each.per_cpu_second for each in alone])
    wall = paired([each.per_second for each in together], [count * each.per_second for each in alone])
    rows = [
        Row("nodes", f"{what}: CPU of all nodes", "deliveries/CPU-s", "one node with all of them", cpu),
        Row("nodes", f"{what}: time, on {os.cpu_count()} cores", "deliveries/s", f"{count} times one node", wall),
    ]
    for row in rows:
        site.tell(f"{row.measured}: {row.figure:,.0f} of {row.limit_figure:,.0f}, {row.ratio:.2f}")
    return rows


@asynccontextmanager
async def _cluster(site: Site, count: int, subscribers: int) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        # Of its own: what one cluster reads costs the others nothing.
        ground = await stack.enter_async_context(site.ground())
        log = await stack.enter_async_context(open_log(ground.kafka, ground.topic))
        nodes = await side_by_side(stack.enter_async_context(node(site, ground)) for _ in range(count))
        shares = [subscribers // count + (number < subscribers % count) for number in range(count)]
        viewers = await side_by_side(
            stack.enter_async_context(sink(site, port=each.port, sockets=share, token=each.token, channel=CHANNEL))
            for each, share in zip(nodes, shares, strict=True)
        )
        yield Cluster(log, nodes, viewers)
