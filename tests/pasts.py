"""A log in memory with a history, a window and a node's reader of the past, for tests of pages."""

from collections.abc import Sequence
from random import Random

from lastseen.envelope import Event
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.domain.duplicates import LookBack
from service.domain.records import Record, read_record, unusable
from service.domain.window import Window
from service.node.event_history import EventHistory
from service.node.head import Head
from service.node.replay import Replay
from service.node.sources import Sources
from service.ports import Epoch
from tests.events import task_events
from tests.raw import UNUSABLE_VALUE, unusable_headers

LOOK_BACK = 20
PARTITIONS = 3


class Past:
    """What a node has read is in its window, as far as that holds it."""

    def __init__(self, seed: int = 0, *, window_bytes: int = 10_000, partitions: int = PARTITIONS) -> None:
        self.random = Random(seed)
        self.now = 1_700_000_000_000
        self.log = MemoryLog(partitions, lambda: self.now)
        self.copied = MemoryHistory(self.log, LOOK_BACK)
        self.window = Window(dict.fromkeys(range(partitions), 0), window_bytes)
        self.head = Head(self.window, "e")
        sources = Sources(self.log, self.copied, 4)
        self.replay = Replay(self.window, self.head, sources, Epoch(1, "e", partitions), LOOK_BACK)
        self.history = EventHistory(self.window, self.head, self.replay, sources, 0.2)
        self.records: list[Record] = []
        """All that are not void, in the order of appending."""
        self.missing: list[Record] = []
        """Where records lie that nobody can use."""
        self._look_backs = [LookBack(LOOK_BACK) for _ in range(partitions)]
        self._events = iter(task_events(600, random=self.random))

    def add(self, event: Event, partition: int) -> Record | None:
        """Append an event, and let the node read it; None where it is void."""
        record = encode(event)
        self.log.append_raw(partition, record.value, record.headers)
        read = read_record(self.log._partitions[partition].records[-1])
        is_void = self._look_backs[partition].judge(read) is not None
        if not is_void:
            self.window.append(read)
            self.records.append(read)
        self.window.advance(partition, read.offset + 1)
        self.head.move()
        return None if is_void else read

    def add_unusable(self, partition: int, channels: Sequence[str]) -> None:
        """Append a record of these channels that nobody can use."""
        place = self.log.append_raw(partition, UNUSABLE_VALUE, unusable_headers(channels))
        missing = unusable(*place, self.now, tuple(channels))
        self.window.append(missing)
        self.head.move()
        self.missing.append(missing)

    def fill(self, count: int, *, twice: float = 0.05) -> None:
        """Append some of all kinds, a few twice, by a clock that goes back now and then."""
        for _ in range(count):
            event = next(self._events)
            partition = sum(event.key.encode()) % len(self._look_backs)
            self.now += self.random.choice([0, 1, 1, 5, 1_000, -3])
            self.add(event, partition)
            if self.random.random() < twice:
                self.add(event, partition)
            if self.random.random() < 0.03:
                self.log.skip(partition, self.random.randrange(1, 4))
                self.window.advance(partition, self.log._partitions[partition].next)

    async def move(self) -> None:
        """Something moves: the log writer copies, or Kafka forgets what was copied."""
        match self.random.randrange(3):
            case 0:
                bounds = await self.log.bounds()
                await self.copied.project({p: self.random.randrange(held.next + 1) for p, held in bounds.items()})
            case 1:
                for partition, held in (await self.copied.coverage()).items():
                    self.log.drop_below(partition, self.random.randrange(held.next + 1))
            case _:
                pass

    def of(self, channels: tuple[str, ...], types: frozenset[str] = frozenset()) -> list[Record]:
        """All records of channels and types."""
        return [
            record
            for record in self.records
            if not set(channels).isdisjoint(record.channels) and (not types or record.type in types)
        ]


def places(records: object) -> list[tuple[int, int]]:
    """Where records lie."""
    assert isinstance(records, list | tuple)
    return [(record.partition, record.offset) for record in records]
