"""The window: the newest records of every partition in memory, bounded in bytes, indexed by channel.

Void records are not put in. What the window holds of a partition is everything else in `[first, next)`;
records leave it in the order in which they came, whatever their partition.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from service.domain.records import Record

_RECORD_OVERHEAD = 400
"""Bytes that a record costs beside its value: itself, its id, its places in the indexes."""


class WindowPage(NamedTuple):
    """Matching records of one partition, in order, and the offset up to which they are all there are."""

    records: Sequence[Record]
    served: int
    sole: str | None = None
    """The channel whose records they are, where no other of those asked for has any."""


class _Run:
    """A list that gives up its front cheaply and can be searched by offset."""

    __slots__ = ("items", "start")

    def __init__(self) -> None:
        self.items: list[Record] = []
        self.start = 0

    def drop_first(self) -> bool:
        """Drop the first; whether none is left."""
        self.start += 1
        if self.start == len(self.items):
            return True
        if self.start > 64 and self.start * 2 > len(self.items):
            del self.items[: self.start]
            self.start = 0
        return False

    def after(self, offset: int, limit: int) -> list[Record]:
        at = bisect_right(self.items, offset, lo=self.start, key=_offset)
        return self.items[at : at + limit]

    def down_from(self, offset: int, limit: int) -> list[Record]:
        """At most `limit` at or below an offset, ascending."""
        stop = bisect_right(self.items, offset, lo=self.start, key=_offset)
        return self.items[max(self.start, stop - limit) : stop]


_offset = attrgetter("offset")


class _Partition:
    __slots__ = ("by_channel", "first", "next")

    def __init__(self, start: int) -> None:
        self.first = start
        self.next = start
        self.by_channel: dict[str, _Run] = {}


class Window:
    """`max_bytes` bounds the values and what indexing them costs, over all partitions."""

    def __init__(self, starts: Mapping[int, int], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._partitions = {partition: _Partition(start) for partition, start in starts.items()}
        self._arrivals: deque[Record] = deque()
        self._bytes = 0

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

    def holds(self, cursor: Mapping[int, int]) -> bool:
        """Whether it holds everything above these offsets that has been read."""
        return all(after + 1 >= self._partitions[partition].first for partition, after in cursor.items())

    def heads(self) -> dict[int, int]:
        """Per partition the last offset read: the position of whoever has been served everything."""
        return {number: partition.next - 1 for number, partition in self._partitions.items()}

    def append(self, record: Record) -> None:
        """Put in a record that is not void, read at `next` or beyond."""
        partition = self._partitions[record.partition]
        partition.next = record.offset + 1
        for channel in record.channels:
            run = partition.by_channel.get(channel)
            if run is None:
                run = partition.by_channel[channel] = _Run()
            run.items.append(record)
        self._arrivals.append(record)
        self._bytes += len(record.value) + _RECORD_OVERHEAD
        while self._bytes > self._max_bytes:
            self._evict()

    def advance(self, number: int, next_offset: int) -> None:
        """The partition has been read up to `next_offset`, whatever lay there."""
        partition = self._partitions[number]
        partition.next = max(partition.next, next_offset)

    def read(self, channels: Sequence[str], number: int, after: int, limit: int, max_bytes: int) -> WindowPage:
        """Up to `limit` records of the channels above `after`, which is at least `first - 1`.

        No further record is taken once their values have `max_bytes`.
        """
        partition = self._partitions[number]
        if after + 1 < partition.first:
            raise ValueError(f"partition {number} is held from {partition.first} on, not from {after + 1}")
        by_channel = partition.by_channel
        parts = [
            (channel, part)
            for channel in channels
            if (run := by_channel.get(channel)) is not None and (part := run.after(after, limit))
        ]
        if not parts:
            return WindowPage((), max(after, partition.next - 1))
        sole, found = parts[0]
        if len(parts) > 1:
            # Each part ascends, so this is a merge; a record of two channels comes twice.
            merged = sorted((record for _, part in parts for record in part), key=_offset)
            found = [one for one, before in zip(merged, (None, *merged), strict=False) if one is not before][:limit]
        only = sole if len(parts) == 1 else None
        size = 0
        for taken, record in enumerate(found, 1):
            size += len(record.value)
            if size >= max_bytes or taken == limit:
                return WindowPage(found[:taken], record.offset, only)
        return WindowPage(found, max(after, partition.next - 1), only)

    def read_back(self, channels: Sequence[str], number: int, upto: int, limit: int) -> WindowPage:
        """Up to `limit` last records of the channels at or below `upto` (at least `first`), descending.

        `served` is the offset from which on (inclusive) they are all there are.
        """
        partition = self._partitions[number]
        if upto < partition.first:
            raise ValueError(f"partition {number} is held from {partition.first} on, not at {upto}")
        runs = [run for channel in channels if (run := partition.by_channel.get(channel)) is not None]
        merged = {record.offset: record for run in runs for record in run.down_from(upto, limit)}
        found = [merged[offset] for offset in sorted(merged, reverse=True)[:limit]]
        return WindowPage(found, found[-1].offset if len(found) == limit else partition.first)

    def between(self, number: int, start: int, stop: int) -> list[Record]:
        """What is held of a partition in `[start, stop)`, ascending. Looks through everything."""
        return [one for one in self._arrivals if one.partition == number and start <= one.offset < stop]

    def first_of(self, channel: str) -> Record | None:
        """The first record of a channel that is held, of its lowest partition where it has several."""
        runs = (p.by_channel.get(channel) for p in self._partitions.values())
        return next((run.items[run.start] for run in runs if run is not None), None)

    def _evict(self) -> None:
        record = self._arrivals.popleft()
        self._bytes -= len(record.value) + _RECORD_OVERHEAD
        partition = self._partitions[record.partition]
        partition.first = record.offset + 1
        for channel in record.channels:
            if partition.by_channel[channel].drop_first():
                del partition.by_channel[channel]
