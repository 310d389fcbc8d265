"""The window: the newest records of every partition in memory, bounded in bytes, indexed by channel.

Void records are not put in. What the window holds of a partition is everything else in `[first, next)`;
records leave it in the order in which they came, whatever their partition.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from service.domain.records import Record

_RECORD_OVERHEAD = 450
"""Bytes that a record costs beside its value: itself, its id, its places in the indexes."""

Part = tuple[str, Sequence[Record]]
"""A channel and records of it, ascending."""


class WindowPage(NamedTuple):
    """Matching records of one partition, by channel, and the offset up to which they are all there are.

    A record of several channels is in the part of each; no part is empty.
    """

    parts: Sequence[Part]
    served: int

    @property
    def records(self) -> Sequence[Record]:
        """All of them, each once, in order."""
        return merged([records for _, records in self.parts])


class WindowPageBack(NamedTuple):
    """Matching records of one partition, descending, and the offset from which on they are all there are."""

    records: Sequence[Record]
    served: int


def merged(parts: Sequence[Sequence[Record]]) -> Sequence[Record]:
    """Records of one partition in order, each once, out of parts that ascend."""
    if len(parts) == 1:
        return parts[0]
    together = sorted((record for part in parts for record in part), key=_offset)
    return [one for one, before in zip(together, (None, *together), strict=False) if one is not before]


class _Run:
    """Records of a channel: a list that gives up its front cheaply, can be searched by offset, and knows sizes."""

    __slots__ = ("ends", "items", "offsets", "start")

    def __init__(self) -> None:
        self.items: list[Record] = []
        self.offsets = array("q")
        self.ends = array("q")
        """Bytes of values up to each record, it included, counted from anywhere."""
        self.start = 0

    def append(self, record: Record) -> None:
        self.ends.append((self.ends[-1] if self.ends else 0) + len(record.value))
        self.offsets.append(record.offset)
        self.items.append(record)

    def drop_first(self) -> bool:
        """Drop the first; whether none is left."""
        self.start += 1
        if self.start == len(self.items):
            return True
        if self.start > 64 and self.start * 2 > len(self.items):
            del self.items[: self.start], self.offsets[: self.start], self.ends[: self.start]
            self.start = 0
        return False

    def place(self, offset: int) -> int:
        """Where in `items` those above an offset begin."""
        return bisect_right(self.offsets, offset, lo=self.start)

    def size(self, at: int) -> int:
        """Bytes of the values from that place on, of which there are some."""
        return self.ends[-1] - self.ends[at] + len(self.items[at].value)

    def down_from(self, offset: int, limit: int) -> list[Record]:
        """At most `limit` at or below an offset, ascending."""
        stop = self.place(offset)
        return self.items[max(self.start, stop - limit) : stop]


_offset = attrgetter("offset")
_NO_RUNS: Final[Mapping[int, _Run]] = MappingProxyType({})


class _Partition:
    __slots__ = ("first", "next")

    def __init__(self, start: int) -> None:
        self.first = start
        self.next = start


class Window:
    """`max_bytes` bounds the values and what indexing them costs, over all partitions."""

    def __init__(self, starts: Mapping[int, int], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._partitions = {partition: _Partition(start) for partition, start in starts.items()}
        self._runs: dict[str, dict[int, _Run]] = {}
        """By channel, then by partition: of most channels there is one."""
        self._arrivals: deque[Record] = deque()
        self._bytes = 0
        self._heads: dict[int, int] | None = None

    @property
    def partitions(self) -> Iterable[int]:
        """The partitions there are."""
        return self._partitions.keys()

    @property
    def bytes(self) -> int:
        """What it holds, by the measure of `max_bytes`."""
        return self._bytes

    def first(self, partition: int) -> int:
        """The offset from which on it holds everything."""
        return self._partitions[partition].first

    def next(self, partition: int) -> int:
        """The offset up to which (exclusive) the partition has been read."""
        return self._partitions[partition].next

    def spans(self, offsets: Mapping[int, int]) -> bool:
        """Whether these name every partition, and what follows each is held, or next to be read."""
        if offsets == self.heads():
            return True
        for number, partition in self._partitions.items():
            offset = offsets.get(number)
            if offset is None or not partition.first <= offset + 1 <= partition.next:
                return False
        return True

    def holds(self, cursor: Mapping[int, int]) -> bool:
        """Whether it holds everything above these offsets that has been read."""
        if cursor == self.heads():
            return True
        return all(after + 1 >= self._partitions[partition].first for partition, after in cursor.items())

    def heads(self) -> Mapping[int, int]:
        """Per partition the last offset read: the position of whoever has been served everything.

        The same object until something more is read, for all who keep it: never changed.
        """
        if self._heads is None:
            self._heads = {number: partition.next - 1 for number, partition in self._partitions.items()}
        return self._heads

    def append(self, record: Record) -> None:
        """Put in a record that is not void, read at `next` or beyond."""
        partition = self._partitions[record.partition]
        partition.next = record.offset + 1
        self._heads = None
        for channel in record.channels:
            runs = self._runs.get(channel)
            if runs is None:
                runs = self._runs[channel] = {}
            run = runs.get(record.partition)
            if run is None:
                run = runs[record.partition] = _Run()
            run.append(record)
        self._arrivals.append(record)
        self._bytes += len(record.value) + _RECORD_OVERHEAD
        while self._bytes > self._max_bytes:
            self._evict()

    def advance(self, number: int, next_offset: int) -> None:
        """The partition has been read up to `next_offset`, whatever lay there."""
        partition = self._partitions[number]
        if next_offset > partition.next:
            partition.next = next_offset
            self._heads = None

    def waiting(self, channels: Iterable[str], cursor: Mapping[int, int]) -> dict[int, list[str]]:
        """Per partition those of the channels that have something above the cursor, which is within it or ahead."""
        for number, partition in self._partitions.items():
            if cursor[number] + 1 < partition.first:
                raise ValueError(f"partition {number} is held from {partition.first} on, not from {cursor[number] + 1}")
        found: dict[int, list[str]] = {}
        for channel in channels:
            for number, run in self._runs.get(channel, _NO_RUNS).items():
                if run.offsets[-1] > cursor[number]:
                    found.setdefault(number, []).append(channel)
        return found

    def read(self, channels: Sequence[str], number: int, after: int, limit: int, max_bytes: int) -> WindowPage:
        """Up to `limit` records of the channels above `after`, which is at least `first - 1`.

        No further record is taken once their values have `max_bytes`.
        """
        partition = self._partitions[number]
        if after + 1 < partition.first:
            raise ValueError(f"partition {number} is held from {partition.first} on, not from {after + 1}")
        parts: list[Part] = []
        count = size = 0
        for channel in channels:
            run = self._run(channel, number)
            if run is not None and (at := run.place(after)) < len(run.items):
                count += len(run.items) - at
                size += run.size(at)
                parts.append((channel, run.items[at : at + limit]))
        if count < limit and size < max_bytes:
            return WindowPage(parts, max(after, partition.next - 1))
        size = 0
        for taken, record in enumerate(merged([records for _, records in parts]), 1):
            size += len(record.value)
            if size >= max_bytes or taken == limit:
                return WindowPage(_upto(parts, record.offset), record.offset)
        return WindowPage(parts, max(after, partition.next - 1))

    def read_back(self, channels: Sequence[str], number: int, upto: int, limit: int) -> WindowPageBack:
        """Up to `limit` last records of the channels at or below `upto` (at least `first`), descending.

        `served` is the offset from which on (inclusive) they are all there are.
        """
        partition = self._partitions[number]
        if upto < partition.first:
            raise ValueError(f"partition {number} is held from {partition.first} on, not at {upto}")
        runs = [run for channel in channels if (run := self._run(channel, number)) is not None]
        merged = {record.offset: record for run in runs for record in run.down_from(upto, limit)}
        found = [merged[offset] for offset in sorted(merged, reverse=True)[:limit]]
        return WindowPageBack(found, found[-1].offset if len(found) == limit else partition.first)

    def between(self, number: int, start: int, stop: int) -> list[Record]:
        """What is held of a partition in `[start, stop)`, ascending. Looks through everything."""
        return [one for one in self._arrivals if one.partition == number and start <= one.offset < stop]

    def first_of(self, channel: str) -> Record | None:
        """The first record of a channel that is held, of its lowest partition where it has several."""
        runs = self._runs.get(channel)
        if runs is None:
            return None
        run = runs[min(runs)]
        return run.items[run.start]

    def _run(self, channel: str, number: int) -> _Run | None:
        return self._runs.get(channel, _NO_RUNS).get(number)

    def _evict(self) -> None:
        record = self._arrivals.popleft()
        self._bytes -= len(record.value) + _RECORD_OVERHEAD
        partition = self._partitions[record.partition]
        partition.first = record.offset + 1
        for channel in record.channels:
            runs = self._runs[channel]
            if runs[record.partition].drop_first():
                del runs[record.partition]
                if not runs:
                    del self._runs[channel]


def _upto(parts: Sequence[Part], offset: int) -> Sequence[Part]:
    """What of the parts lies at or below an offset."""
    cut = ((channel, records[: bisect_right(records, offset, key=_offset)]) for channel, records in parts)
    return [(channel, records) for channel, records in cut if records]
