"""A start means the same to every reader: pages over HTTP, a stream of Server-Sent Events, a subscription."""

import asyncio
from random import Random
from typing import Any

import pytest
from lastseen.positions import EARLIEST, Position

from service.adapters.memory_cursors import MemoryCursors
from service.domain.messages import rfc3339
from service.node.node import Node
from service.node.past import Range, Wanted
from service.node.starts import Start
from service.settings import Settings
from tests.property.test_delivery import CHANNELS, LOOK_BACK, PARTITIONS, USER, some_event
from tests.simulated_server import Line, Server
from tests.simulation import SimulatedHistory, SimulatedLog, SimulatedPort, SimulatedRights, simulate
from tests.stream_reader import StreamReader
from tests.waiting import until

SETTINGS = Settings(window_bytes=6_000, window_offsets=4, look_back=LOOK_BACK)
Places = list[tuple[int, int]]


class Readers:
    """One of each kind on a node whose past lies in window, Postgres and Kafka."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.log = SimulatedLog(PARTITIONS, random)
        self.history = SimulatedHistory(self.log, LOOK_BACK)
        rights = SimulatedRights(self.log, LOOK_BACK)
        self.server = Server(SETTINGS, self.log, self.history, rights, MemoryCursors())
        for number in range(80):
            # The clocks of brokers may be set back a little.
            self.log._now += random.choice([0, 1, 1, 5, 100, -3])
            self.log.add(random.randrange(PARTITIONS), some_event(random, number, void=False), random.choice([0, 0, 2]))

    async def start(self) -> Node:
        await self.history.project({p: self.random.randint(0, self.log.next(p)) for p in range(PARTITIONS)})
        for partition in range(PARTITIONS):
            self.log.drop_below(partition, self.random.randint(0, self.history.next(partition)))
        self.server.start()
        await self.server.ready()
        assert self.server.node is not None
        return self.server.node

    def expected(self, channels: tuple[str, ...], start: Start) -> Places:
        """By the meaning of the start, from all that was ever appended."""
        found = {(r.partition, r.offset): r.appended_at for name in channels for r in self.log.owed(name, LOOK_BACK)}
        if start.last is not None:
            newest: Places = []
            left = {p: sorted(place for place in found if place[0] == p) for p in range(PARTITIONS)}
            while any(left.values()) and len(newest) < start.last:
                heads = [places[-1] for places in left.values() if places]
                place = max(heads, key=lambda place: (found[place], place[0]))
                newest.append(left[place[0]].pop())
            return sorted(newest)
        after = dict.fromkeys(range(PARTITIONS), -1)
        if start.since_ms is not None:
            for p, raws in self.log.all.items():
                reached = [raw.offset for raw in raws if raw.timestamp >= start.since_ms]
                after[p] = min(reached, default=self.log.next(p)) - 1
        elif start.after is not None and not start.after.is_earliest:
            after = dict(start.after.offsets)
        return sorted(place for place in found if place[1] > after[place[0]])

    async def pages(self, node: Node, channels: tuple[str, ...], start: Start) -> Places:
        range_ = Range(after=start.after, since_ms=start.since_ms, last=start.last)
        places: Places = []
        while True:
            page = await node.services.history.forward(Wanted(channels), range_, self.random.choice([1, 7, 100]))
            places += [(record.partition, record.offset) for record in page.records]
            if page.next == page.watermark:
                return places
            range_ = Range(after=Position.parse(page.next))

    async def stream(self, channels: tuple[str, ...], start: Start) -> Places:
        reader = StreamReader(USER, channels, start, self.random)
        await reader.connect(self.server)
        async with asyncio.timeout(1_000):
            while not reader.source.named("caught_up"):
                reader.read(1)
                await asyncio.sleep(0.1)
                if self.random.random() < 0.1 and start.last is None:
                    await reader.connect(self.server)
        assert not reader.source.named("gap")
        await reader.cut()
        return reader.places

    async def subscription(self, node: Node, channels: tuple[str, ...], start: Start) -> Places:
        port = SimulatedPort(node.services.low_water)
        line = Line(self.server, port, USER)
        line.open(None, None, None)
        given: dict[str, Any] = {"after": start.after.token if start.after is not None else None, "last": start.last}
        given["since"] = None if start.since_ms is None else rfc3339(start.since_ms)
        heard: list[dict[str, Any]] = []

        def has_heard(type_: str) -> bool:
            heard.extend(port.read(100))
            return any(message["type"] == type_ and set(channels) & set(message["channels"]) for message in heard)

        await until(lambda: bool(port.read(100)), what="the greeting")
        line.send({"type": "subscribe", "channels": list(channels), **given})
        await until(lambda: has_heard("caught_up"), what="the end of the replay")
        await line.cut()
        return [(m["partition"], m["offset"]) for m in heard if set(channels) & set(m.get("replay", ()))]

    async def play(self) -> None:
        node = await self.start()
        random, bounds = self.random, {p: self.log.next(p) for p in range(PARTITIONS)}
        times = sorted(raw.timestamp for raws in self.log.all.values() for raw in raws)
        starts = [
            Start(after=EARLIEST),
            Start(after=Position("e", {p: random.randrange(-1, end) for p, end in bounds.items()})),
            Start(since_ms=random.randint(times[0] - 2, times[-1] + 2)),
            Start(last=random.choice([1, 5, 1_000])),
        ]
        for start in starts:
            # Of several channels the last are counted by themselves, or together: that is a page's.
            names = random.sample(CHANNELS, 1 if start.last is not None else 3)
            channels = tuple(name for name in names if name != "user:u") or ("project:p",)
            expected = self.expected(channels, start)
            assert sorted(await self.pages(node, channels, start)) == expected
            assert sorted(await self.stream(channels, start)) == expected
            assert sorted(await self.subscription(node, channels, start)) == expected
        several = ("project:q", "task:a", "system")
        each = {place for name in several for place in self.expected((name,), Start(last=3))}
        assert sorted(await self.stream(several, Start(last=3))) == sorted(each)
        assert sorted(await self.pages(node, several, Start(last=3))) == self.expected(several, Start(last=3))
        await self.server.stop()


@pytest.mark.parametrize("seed", range(12))
def test_the_same_events_come_by_every_way(seed: int) -> None:
    simulate(Readers(seed).play)
