"""The whole node through Kafka beside programs that only send: the same bursts to as many clients, counted alike.

Deliveries for each CPU second of the serving process. A peer is handed the ready texts on stdin; ours appends them to
Kafka, and its frames are longer by the event's place in the log.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from benchmarks.bursts import CHANNEL, Case, Send, deliver, through
from benchmarks.crowded import Sink, sink
from benchmarks.measured import Row, in_turn, paired
from benchmarks.peer_programs import Peer, PeerProcess, peer_process, peers
from benchmarks.processes import NodeProcess, node
from benchmarks.site import Ground, Site
from benchmarks.waiting import side_by_side
from service.adapters.kafka.log import open_log

CASES: Final = (Case(1000, 1, 150), Case(1000, 8, 120), Case(1000, 32, 80))
QUICK_CASES: Final = (Case(20, 1, 10), Case(20, 8, 5))
_PART: Final = 5
"""Peers get that part of the bursts: each takes as long as many of ours."""
_WARMING: Final = Case(1000, 8, 5)
_QUICK_WARMING: Final = Case(20, 8, 2)
"""What comes before: that a program is compiled as it runs is no part of the figure, ours or a peer's."""


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    cases = site.sized(CASES, QUICK_CASES)
    sockets = cases[0].subscribers
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(site.ground())
        log = await stack.enter_async_context(open_log(ground.kafka, ground.topic))
        async with asyncio.TaskGroup() as tasks:
            beginning = tasks.create_task(_begin_node(site, stack, ground, sockets))
            measured = await side_by_side(_begin(site, stack, peer, sockets) for peer in await peers(site))
        served, viewers = beginning.result()
        ours = partial(_deliver, through(log), viewers, served)
        theirs = [partial(_deliver, process.send, clients, process) for process, clients in measured]
        for each in (ours, *theirs):
            await each(site.sized(_WARMING, _QUICK_WARMING))
        rows: list[Row] = []
        for case in cases:
            fewer = replace(case, bursts=case.bursts // _PART)
            rates, *limits = await in_turn(site.pairs, partial(ours, case), *(partial(each, fewer) for each in theirs))
            for (process, _), limit in zip(measured, limits, strict=True):
                pairs = paired(rates, limit)
                row = Row("peers", case.told, "deliveries/CPU-s", process.peer.told, pairs)
                site.tell(f"{row.measured}: {row.figure:,.0f}, {process.peer.name} {row.limit_figure:,.0f}")
                rows.append(row)
    return rows


async def _begin_node(site: Site, stack: AsyncExitStack, ground: Ground, sockets: int) -> tuple[NodeProcess, Sink]:
    served = await stack.enter_async_context(node(site, ground))
    viewers = await stack.enter_async_context(
        sink(site, port=served.port, sockets=sockets, token=served.token, channel=CHANNEL)
    )
    return served, viewers


async def _begin(site: Site, stack: AsyncExitStack, peer: Peer, sockets: int) -> tuple[PeerProcess, Sink]:
    process = await stack.enter_async_context(peer_process(site, peer))
    clients = await stack.enter_async_context(sink(site, port=process.port, sockets=sockets, **peer.greeting))
    return process, clients


async def _deliver(send: Send, viewers: Sink, by: NodeProcess | PeerProcess, case: Case) -> float:
    return (await deliver(case, send, [viewers], by.cpu_seconds)).per_cpu_second
