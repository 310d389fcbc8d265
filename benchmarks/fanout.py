"""From the tail to many clients: deliveries a CPU-second of the whole node, against bare sends of the same frames.

Events come in bursts, each appended when the one before it has reached every subscriber, so nobody falls
behind; the subscribers' bytes must be those of the frames, to the last one.
"""

import asyncio
import contextlib
import json
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from lastseen.record import NewRecord, encode

from benchmarks.events import make_event
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import NodeProcess, node, running
from benchmarks.site import Site
from service.adapters.kafka.log import KafkaLog, open_log
from service.domain.frames import event_frame
from service.domain.records import Record
from service.embedded.free_ports import HOST
from service.ports import Place

PROJECT, TASK = "fanout", "fanout"
CHANNEL = f"task:{TASK}"


@dataclass(frozen=True, slots=True)
class Case:
    """So many subscribers, and so many events at once."""

    subscribers: int
    burst: int
    deliveries: int

    @property
    def bursts(self) -> int:
        return max(1, self.deliveries // (self.subscribers * self.burst))

    @property
    def per_burst(self) -> int:
        return self.subscribers * self.burst


CASES = (Case(100, 1, 40_000), Case(1000, 1, 80_000), Case(1000, 8, 80_000), Case(1000, 32, 192_000))
QUICK_CASES = (Case(100, 1, 5_000), Case(100, 8, 8_000))


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    cases = site.sized(CASES, QUICK_CASES)
    rows: list[Row] = []
    async with site.ground() as ground, open_log(ground.kafka, ground.topic) as log:
        for subscribers in sorted({case.subscribers for case in cases}):
            async with AsyncExitStack() as stack:
                served = await stack.enter_async_context(node(site, ground))
                viewers = await stack.enter_async_context(_sink(site, served.port, subscribers, served.token))
                bare = await stack.enter_async_context(_bare_writer(site, subscribers))
                same = [case for case in cases if case.subscribers == subscribers]
                rows += [await _compare(site, case, log, served, viewers, bare) for case in same]
    return rows


class Sink:
    """The process that reads for many sockets; see `benchmarks.sink`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._expected = 0

    async def order(self, **order: object) -> None:
        """Make it connect; returns once all its sockets are ready."""
        await self._say(json.dumps(order))
        if await self._answer() != b"ready":
            raise RuntimeError("the sink did not get ready: see its log")

    async def expect(self, size: int) -> None:
        """Wait until `size` bytes more have come. Raises RuntimeError when it is not exactly those."""
        self._expected += size
        await self._say(str(self._expected))
        got = int(await self._answer())
        if got != self._expected:
            raise RuntimeError(f"the subscribers got {got} bytes, not the {self._expected} of the frames")

    async def _say(self, line: str) -> None:
        assert self._process.stdin is not None, "piped"
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def _answer(self) -> bytes:
        assert self._process.stdout is not None, "piped"
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sink has ended: see its log")
        return line.strip()


@asynccontextmanager
async def _sink(site: Site, port: int, sockets: int, token: str | None) -> AsyncIterator[Sink]:
    async with running(site, "benchmarks.sink", piped=True) as process:
        sink = Sink(process)
        await sink.order(host=HOST, port=port, sockets=sockets, token=token, channel=CHANNEL)
        yield sink


@asynccontextmanager
async def _bare_writer(site: Site, subscribers: int) -> AsyncIterator["BareWriter"]:
    with socket.create_server((HOST, 0), backlog=subscribers) as server, contextlib.ExitStack() as stack:
        async with _sink(site, server.getsockname()[1], subscribers, None) as sink:
            # They wait in the backlog: accepting doesn't block.
            sockets = [stack.enter_context(server.accept()[0]) for _ in range(subscribers)]
            for one in sockets:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.setblocking(False)
            yield BareWriter(sockets, sink)


class BareWriter:
    """Writes ready frames to every socket, with `socket.send` and nothing around it."""

    def __init__(self, sockets: Sequence[socket.socket], sink: Sink) -> None:
        self._sockets = sockets
        self._sink = sink

    async def write(self, frames: bytes) -> float:
        """CPU seconds for one burst to every socket; returns once all of it has been read."""
        used = await asyncio.to_thread(self._write, frames)
        await self._sink.expect(len(frames) * len(self._sockets))
        return used

    def _write(self, frames: bytes) -> float:
        started = time.thread_time()
        size = len(frames)
        for one in self._sockets:
            sent = 0
            while sent < size:
                try:
                    sent += one.send(frames[sent:] if sent else frames)
                except BlockingIOError:
                    select.select((), (one,), ())
        return time.thread_time() - started


async def _compare(site: Site, case: Case, log: KafkaLog, served: NodeProcess, viewers: Sink, bare: BareWriter) -> Row:
    async def through_node() -> float:
        before = served.cpu_seconds()
        for _ in range(case.bursts):
            records = [encode(make_event(PROJECT, TASK)) for _ in range(case.burst)]
            places = await log.append(records)
            await viewers.expect(len(_frames(records, places)) * case.subscribers)
        return case.bursts * case.per_burst / (served.cpu_seconds() - before)

    async def bare_sends() -> float:
        records = [encode(make_event(PROJECT, TASK)) for _ in range(case.burst)]
        frames = _frames(records, [Place(0, 100_000 + number) for number in range(case.burst)])
        used = sum([await bare.write(frames) for _ in range(case.bursts)])
        return case.bursts * case.per_burst / used

    measures: tuple[Callable[[], Awaitable[float]], ...] = (through_node, bare_sends)
    ours, limit = await in_turn(site.pairs, *measures)
    events = "1 event" if case.burst == 1 else f"bursts of {case.burst} events"
    return Row(
        "fanout",
        f"Kafka → node → WebSocket, {case.subscribers:,} subscribers of one channel, {events}",
        "deliveries/CPU-s",
        "socket.send of the same ready frames from Python, one send a socket and burst",
        paired(ours, limit),
    )


def _frames(records: Sequence[NewRecord], places: Sequence[Place]) -> bytes:
    return b"".join(
        event_frame(Record(place.partition, place.offset, 0, "", "", (CHANNEL,), None, record.value))
        for record, place in zip(records, places, strict=True)
    )
