"""A reader of Server-Sent Events gets every event of its channels once and in order, whatever moves meanwhile.

The schedules of `test_delivery`, with readers that are slow, are cut in the middle of an event and come back to
either node with the last id; and with rights that come and go.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from lastseen.positions import EARLIEST, Position

from service.adapters.memory_cursors import MemoryCursors
from service.node.starts import Start
from service.settings import Settings
from tests.event_source import EventSource
from tests.property.test_delivery import (
    CHANNELS,
    LOOK_BACK,
    PARTITIONS,
    USER,
    gap_of,
    quarantined,
    some_channels,
    some_event,
)
from tests.property.test_rights_delivery import CHANNELS as GUARDED
from tests.property.test_rights_delivery import World, ends
from tests.raw import APPENDED_AT
from tests.simulated_server import Server
from tests.simulation import SimulatedHistory, SimulatedLog, SimulatedRights, simulate
from tests.stream_reader import StreamReader

SETTINGS = Settings(window_bytes=4_000, window_offsets=4, look_back=LOOK_BACK, stream_keepalive_seconds=1)


class Schedule:
    """A log, two nodes, and readers that begin in every way; `seen` counts what happened."""

    def __init__(self, seed: int, *, lossy: bool) -> None:
        self.random = random = Random(seed)
        self.lossy = lossy
        self.log = SimulatedLog(PARTITIONS, random, tick_ms=1)
        self.history = SimulatedHistory(self.log, LOOK_BACK)
        rights, cursors = SimulatedRights(self.log, LOOK_BACK), MemoryCursors()
        self.servers = [Server(SETTINGS, self.log, self.history, rights, cursors) for _ in range(2)]
        self.readers: list[StreamReader] = []
        self._number = 0

    def add(self, partition: int) -> None:
        if self.random.random() < 0.05:
            self.log.add_unusable(partition, some_channels(self.random))
        self.log.add(
            partition, some_event(self.random, self._number, void=not self.lossy), self.random.choice([0, 0, 0, 1, 4])
        )
        self._number += 1

    async def begin(self, server: Server) -> None:
        """One reader more."""
        random = self.random
        ends = {partition: self.log.next(partition) for partition in range(PARTITIONS)}
        starts = [
            None,
            Start(after=EARLIEST),
            Start(after=Position("e", {p: random.randrange(-1, end) for p, end in ends.items()})),
            Start(since_ms=APPENDED_AT + random.randint(0, self._number + 2)),
        ]
        reader = StreamReader(USER, random.sample(CHANNELS, random.choice([1, 2, 4])), random.choice(starts), random)
        self.readers.append(reader)
        await reader.connect(server)

    async def play(self, steps: int) -> None:
        """To where everything has come to rest."""
        random, log, history = self.random, self.log, self.history
        for _ in range(random.randrange(12)):
            self.add(random.randrange(PARTITIONS))
        for server in self.servers:
            server.start()
            await server.ready()
            await self.begin(server)
        for _ in range(steps):
            partition, server = random.randrange(PARTITIONS), random.choice(self.servers)
            reader = random.choice(self.readers)
            if server.node is None:
                history.available = history.available or random.random() < 0.1
                await asyncio.sleep(0.1)
                continue
            match random.randrange(18):
                case 0 | 1 | 2 | 3 | 4:
                    for _ in range(random.choice([1, 1, 2, 6])):
                        self.add(partition)
                case 5 | 6 | 7 | 8:
                    server.step(partition, random.randint(1, 9))
                case 9 | 10:
                    await history.project({partition: history.next(partition) + random.randint(1, 20)})
                case 11:
                    kept = history.next(partition) if not self.lossy else log.next(partition)
                    log.drop_below(
                        partition, min(kept, *(s.next[partition] for s in self.servers)) - random.randrange(4)
                    )
                case 12 if self.lossy and random.random() < 0.3 and history.next(partition):
                    history.drop_below(partition, random.randrange(1 + history.next(partition)))
                case 13:
                    await reader.connect(server)
                case 14 if len(self.readers) < 6:
                    await self.begin(server)
                case 15 if random.random() < 0.3:
                    history.available = not history.available
                case 16 if random.random() < 0.3:
                    await self._restart(server)
                case 17 if random.random() < 0.3:
                    await asyncio.sleep(random.choice([0.1, 1.0, 5.0]))
                case _:
                    reader.read(random.choice([1, 3, 10]))
            for _ in range(random.choice([0, 0, 1, 2, 10])):
                await asyncio.sleep(0)
        await self._end()

    async def _restart(self, server: Server) -> None:
        if self.random.random() < 0.5 and server.node is not None:
            for reader in self.readers:
                reader.read(100 if self.random.random() < 0.7 else 0)
            await server.node.streams.drain(1_000)
        for reader in self.readers:
            if reader.server is server:
                await reader.cut()
        await server.stop()
        server.start()

    async def _end(self) -> None:
        self.history.available = True
        for server in self.servers:
            await server.ready()
        await self.history.project()
        for partition in range(PARTITIONS):
            for server in self.servers:
                server.step(partition, 10_000)
        for reader in self.readers:
            if reader.is_over:
                await reader.connect(self.servers[0])
        for _ in range(40):
            for reader in self.readers:
                reader.read(1_000)
            await asyncio.sleep(1)
            for _ in range(30):
                await asyncio.sleep(0)
        for reader in self.readers:
            assert not reader.is_over
            assert reader.source.dispatched[-1].type != "error", "it never went on"
            self._check(reader)
            await reader.cut()
        for server in self.servers:
            await server.stop()

    def _check(self, reader: StreamReader) -> None:
        """All that is owed came once and in order; what is missing was announced, and is really gone."""
        got, begun = reader.places, self._begun(reader)
        owed = {
            (record.partition, record.offset)
            for channel in reader.channels
            for record in self.log.owed(channel, LOOK_BACK)
            if record.offset > begun[record.partition]
        }
        assert len(set(got)) == len(got), f"doubled {[place for place in got if got.count(place) > 1]}"
        for partition in range(PARTITIONS):
            offsets = [offset for p, offset in got if p == partition]
            assert offsets == sorted(offsets), "out of order"
        assert set(got) <= owed, f"not owed: {set(got) - owed}"
        gaps = [gap_of(gap) for gap in reader.source.named("gap")]
        losses = [gap for gap in gaps if gap.reason != "quarantine"]
        assert self.lossy or not losses, "a gap was announced although everything is held somewhere"

        def is_announced(partition: int, offset: int) -> bool:
            return any(
                gap.requested.offsets.get(partition, -2) < offset <= gap.earliest.offsets[partition] for gap in losses
            )

        for partition, offset in owed - set(got):
            assert is_announced(partition, offset), f"lost {partition}:{offset}"
            held = offset >= self.log.first(partition) or self.history.holds(partition, offset)
            assert not held, f"false gap over {partition}:{offset}"
        told = [place for gap in gaps if (place := quarantined(gap)) is not None]
        unusable = {place for channel in reader.channels for place in self.log.unusable.get(channel, ())}
        assert len(set(told)) == len(told)
        assert set(told) <= unusable
        for partition, offset in unusable - set(told):
            assert offset <= begun[partition] or is_announced(partition, offset), f"not told of {partition}:{offset}"
        # Its place is at the end: who comes back to it gets nothing twice.
        last = Position.parse(reader.source.last_event_id).offsets
        assert last == {p: self.log.next(p) - 1 for p in range(PARTITIONS)}

    def _begun(self, reader: StreamReader) -> Mapping[int, int]:
        """Where it began: where it was to."""
        assert reader.first is not None
        start, begun = reader.start, reader.first.offsets
        if start is not None and start.after is not None:
            if start.after.is_earliest:
                assert self.lossy or set(begun.values()) == {-1}
            else:
                assert reader.first == start.after
        elif start is not None and start.since_ms is not None and not self.lossy:
            # Behind none of that time or later. On a node that lags it may begin with older ones.
            for channel in reader.channels:
                for record in self.log.owed(channel, LOOK_BACK):
                    assert record.appended_at < start.since_ms or record.offset > begun[record.partition]
        return begun


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 120))
def test_nothing_is_lost_or_doubled_while_everything_is_held(seed: int, steps: int) -> None:
    simulate(lambda: Schedule(seed, lossy=False).play(steps))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 120))
def test_what_is_gone_is_announced_and_nothing_else(seed: int, steps: int) -> None:
    simulate(lambda: Schedule(seed, lossy=True).play(steps))


class Guarded:
    """Readers of the world of `test_rights_delivery`, in which rights come and go in the log itself."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.random = self.world.random
        self.readers: list[StreamReader] = []
        self.left: dict[StreamReader, set[str]] = {}
        """The channels that a reader has, of those that it asked for when it connected."""
        self.seen: Counter[str] = Counter()

    async def connect(self, reader: StreamReader, server: Server) -> None:
        held = ends(self.world.log)
        self.left[reader] = set(reader.channels)
        reader.on_piece = lambda piece: self._judge(reader, server, held, piece)
        await reader.connect(server)

    def _judge(self, reader: StreamReader, server: Server, held: Mapping[int, int], piece: bytes) -> None:
        """What a node sends is for whoever has the right, by all that the node has read."""
        oracle, has_read, left = self.world.oracle, server.next, self.left[reader]
        heard = server.rights.heard(has_read)
        for one in EventSource().feed(piece):
            self.seen[one.type] += 1
            if one.type == "message":
                counted = [name for name in one.data["channels"] if name in left]
                assert counted, f"{one.data} is for none of {left}"
                for name in counted:
                    assert oracle.may_hold(reader.identity, name, has_read, has_read, heard), f"{name} without a right"
            elif one.type == "unsubscribed":
                left.remove(one.data["channel"])
                raised = {p: max(at, has_read.get(p, 0)) for p, at in held.items()}
                assert oracle.may_lack(reader.identity, one.data["channel"], has_read, raised, heard)

    async def play(self, steps: int) -> None:
        world, random = self.world, self.random
        for _ in range(random.randrange(20)):
            world.add()
        for server in world.servers:
            # A node that may not wait at all for what the log holds now can deny nothing.
            server.settings = server.settings.model_copy(update={"settle_seconds": 2.0})
            server.start()
            await server.ready()
        for client in world.clients[:5]:
            channels = random.sample(GUARDED, random.choice([1, 1, 3]))
            start = random.choice([None, Start(after=EARLIEST)])
            self.readers.append(StreamReader(client.identity, channels, start, random))
        for _ in range(steps):
            server, reader = random.choice(world.servers), random.choice(self.readers)
            partition = random.randrange(2)
            match random.randrange(12):
                case 0 | 1 | 2:
                    for _ in range(random.choice([1, 1, 2, 6])):
                        world.add()
                case 3 | 4 | 5:
                    server.step(partition, random.randint(1, 9))
                case 6:
                    await world.history.project({partition: world.history.next(partition) + random.randint(1, 20)})
                case 7:
                    read = min(world.history.next(partition), *(s.next[partition] for s in world.servers))
                    world.log.drop_below(partition, read - random.randrange(4))
                case 8:
                    await self.connect(reader, server)
                case 9 if random.random() < 0.3:
                    world.history.available = server.rights.available = not world.history.available
                case 10 if random.random() < 0.3:
                    await asyncio.sleep(random.choice([0.1, 1.0, 5.0]))
                case _:
                    reader.read(random.choice([1, 3, 10]))
            for _ in range(random.choice([0, 0, 1, 2, 10])):
                await asyncio.sleep(0)
        await self._end()

    async def _end(self) -> None:
        world = self.world
        world.history.available = world.servers[0].rights.available = True
        await world.history.project()
        for server in world.servers:
            for partition in range(2):
                server.step(partition, 10_000)
        head = ends(world.log)
        for rounds in range(20):
            for reader in self.readers:
                if reader.is_over and (rounds == 0 or world.oracle.may_read(reader.identity, reader.channels[0], head)):
                    await self.connect(reader, world.servers[0])
                reader.read(1_000)
            await asyncio.sleep(2)
            for _ in range(30):
                await asyncio.sleep(0)
        for reader in self.readers:
            if len(reader.channels) == 1:
                self._check(reader, head)
            await reader.cut()
        for server in world.servers:
            await server.stop()

    def _check(self, reader: StreamReader, head: Mapping[int, int]) -> None:
        """Whoever may read now has all of it, each once, in order, whatever he lost and got back meanwhile."""
        (channel,) = reader.channels
        may = self.world.oracle.may_read(reader.identity, channel, head)
        assert reader.is_over is not may, f"{channel} goes on without a right to it, or does not with one"
        if reader.first is None:
            assert not may
            return
        for partition, next_ in head.items():
            got = [offset for p, offset in reader.places if p == partition]
            owed = self.world.oracle.counted(channel, partition, reader.first.offsets[partition], next_ - 1, set(got))
            assert got == (owed if may else owed[: len(got)]), f"{channel}, partition {partition}"


@settings(max_examples=70, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 120))
def test_nobody_reads_what_he_has_no_right_to(seed: int, steps: int) -> None:
    simulate(lambda: Guarded(seed).play(steps))


def test_all_that_matters_happens_in_these_schedules() -> None:
    """Were the schedules too tame, the properties above would hold for nothing."""
    seen: Counter[str] = Counter()
    for seed in range(12):
        guarded, lossy = Guarded(seed), Schedule(seed, lossy=True)
        simulate(partial(guarded.play, 100))
        simulate(partial(lossy.play, 100))
        seen += guarded.seen
        for reader in lossy.readers:
            seen.update(one.type for one in reader.source.dispatched)
    assert all(seen[what] >= 6 for what in ("message", "caught_up", "unsubscribed", "error", "gap")), seen
