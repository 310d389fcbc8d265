"""From the tail to many clients: deliveries a CPU-second of the whole node, against bare sends of the same frames.

See `benchmarks.bursts`.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.bursts import CHANNEL, Case, deliver, frames, make_burst, through
from benchmarks.crowded import BareWriter, Sink, bare_writer, sink
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import NodeProcess, node
from benchmarks.site import Site
from benchmarks.sockets import connect, subscribe
from service.adapters.kafka.log import KafkaLog, open_log
from service.embedded.free_ports import HOST
from service.ports import Place

PATH = "Kafka → node → WebSocket"
PYTHON = {"LASTSEEN_NATIVE_SENDS": "false"}

CASES = (
    *(Case(1, burst, bursts) for burst, bursts in ((1, 400), (8, 300), (32, 150))),
    *(Case(100, burst, bursts) for burst, bursts in ((1, 300), (8, 250), (32, 150))),
    *(Case(1000, burst, bursts) for burst, bursts in ((1, 150), (8, 120), (32, 80))),
    *(Case(5000, burst, bursts) for burst, bursts in ((1, 40), (8, 30), (32, 20))),
    *(Case(10_000, burst, bursts) for burst, bursts in ((1, 20), (8, 16), (32, 10))),
)
PYTHON_CASES = tuple(case for case in CASES if case.subscribers == 1000)
QUICK_CASES = (Case(1, 1, 20), Case(100, 1, 20), Case(100, 8, 10))
QUICK_PYTHON_CASES = (Case(100, 8, 10),)


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    async with site.ground() as ground, open_log(ground.kafka, ground.topic) as log:
        rows: list[Row] = []
        for cases, settings, how in (
            (site.sized(CASES, QUICK_CASES), {}, ""),
            (site.sized(PYTHON_CASES, QUICK_PYTHON_CASES), PYTHON, ", sent from Python"),
        ):
            for subscribers in sorted({case.subscribers for case in cases}):
                async with AsyncExitStack() as stack:
                    served = await stack.enter_async_context(node(site, ground, **settings))
                    viewers = await stack.enter_async_context(
                        sink(site, port=served.port, sockets=subscribers, token=served.token, channel=CHANNEL)
                    )
                    bare = await stack.enter_async_context(bare_writer(site, subscribers))
                    same = [case for case in cases if case.subscribers == subscribers]
                    rows += [await _compare(site, case, log, served, viewers, bare, how) for case in same]
        case = site.sized(Case(1000, 1, 150), Case(100, 1, 20))
        async with (
            node(site, ground) as served,
            sink(site, port=served.port, sockets=case.subscribers, token=served.token, channel=CHANNEL) as viewers,
        ):
            rows.append(await _beside_a_slow_one(site, case, log, served, viewers))
    return rows


async def _compare(
    site: Site, case: Case, log: KafkaLog, served: NodeProcess, viewers: Sink, bare: BareWriter, how: str
) -> Row:
    async def bare_sends() -> float:
        ready = frames(make_burst(case), [Place(0, 100_000 + number) for number in range(case.burst)])
        used = sum([await bare.write(ready) for _ in range(case.bursts)])
        return case.bursts * case.per_burst / used

    measures: tuple[Callable[[], Awaitable[float]], ...] = (lambda: _through(case, log, served, viewers), bare_sends)
    ours, limit = await in_turn(site.pairs, *measures)
    row = Row("fanout", f"{PATH}, {case.told}{how}", "deliveries/CPU-s", bare.what, paired(ours, limit))
    site.tell(f"{row.measured}: {row.figure:,.0f} of {row.limit_figure:,.0f}, {row.ratio:.2f}")
    return row


async def _through(case: Case, log: KafkaLog, served: NodeProcess, viewers: Sink) -> float:
    """Deliveries for each CPU second of the node."""
    return (await deliver(case, through(log), [viewers], served.cpu_seconds)).per_cpu_second


async def _beside_a_slow_one(site: Site, case: Case, log: KafkaLog, served: NodeProcess, viewers: Sink) -> Row:
    async def beside() -> float:
        async with _slow_subscriber(served):
            return await _through(case, log, served, viewers)

    beside_it, alone = await in_turn(site.pairs, beside, lambda: _through(case, log, served, viewers))
    return Row(
        "fanout",
        f"{PATH}, {case.told}, beside one more that reads next to nothing",
        "deliveries/CPU-s",
        "the same without that one",
        paired(beside_it, alone),
    )


@asynccontextmanager
async def _slow_subscriber(served: NodeProcess) -> AsyncIterator[None]:
    """One whose socket is soon full, and who takes a little now and then."""

    def come() -> socket.socket:
        slow = connect(HOST, served.port, served.token, receive_buffer=4096)
        subscribe(slow, CHANNEL, from_start=True)
        return slow

    async def read_slowly() -> None:
        while True:
            await asyncio.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                slow.recv(1024)

    slow = await asyncio.to_thread(come)
    slow.setblocking(False)
    reading = asyncio.create_task(read_slowly())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        slow.close()
