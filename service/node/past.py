"""What a reader of the past wants, and where a time lies in the log."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from lastseen.positions import Position

from service.domain.errors import LogUnavailable
from service.domain.records import Record, Unusable
from service.node.sources import Sources


@dataclass(frozen=True, slots=True)
class Wanted:
    """Records of some channels; without types, of all types."""

    channels: tuple[str, ...]
    types: frozenset[str] = frozenset()
    contradicts: Callable[[Record], bool] | None = None
    """Which records do not count for their task's channel."""
    who: str = ""
    """The user who reads, and takes turns with others at the history."""
    starts: Mapping[str, Mapping[int, int]] | None = None
    """Per channel where it begins, and per partition: what lies at or below that does not count for it."""

    def matches(self, record: Record) -> bool:
        """Whether a record is wanted."""
        # Of what type one was that can't be used, nobody knows.
        if self.types and record.type not in self.types and not isinstance(record, Unusable):
            return False
        names = [name for name in record.channels if name in self.channels]
        if self.starts is not None:
            names = [name for name in names if record.offset > self.starts[name].get(record.partition, -2)]
        if names and self.contradicts is not None and self.contradicts(record):
            return any(not name.startswith("task:") for name in names)
        return bool(names)


@dataclass(frozen=True, slots=True)
class Range:
    """Which part of the log: behind `after`, at or below `before`, and by time of appending `[since, until)`.

    Times are in ms since 1970; None leaves an end open. `last` begins with so many last events of all channels.
    """

    after: Position | None = None
    before: Position | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    last: int | None = None


async def offsets_at(sources: Sources, ms: int, read: Mapping[int, int]) -> dict[int, int | None]:
    """Per partition the first offset held at which the running maximum of appending times reaches `ms`.

    None where it has not been reached yet. While Kafka is away Postgres tells, where it has all that this node has
    read: up to the offsets `read` (exclusive). Raises LogUnavailable, HistoryUnavailable.
    """
    log, history = sources.log, sources.history
    try:
        bounds = await sources.bounds()
        in_log = await log.offsets_at(ms)
        # Asked behind the other: what is still held then, before it, was there and of an earlier time.
        of_log = await log.offsets_at(0)
    except LogUnavailable:
        return await _copied_at(sources, ms, read)
    # Where all that Kafka still holds is of that time or later, it may have been reached before.
    # The bounds may be from before retention took what they say.
    asked = {
        p
        for p, held in bounds.items()
        if not _is_before(of_log[p], in_log[p]) and (held.first > 0 or (held.next if of_log[p] is None else of_log[p]))
    }
    before = await history.offsets_at(ms) if asked else {}
    # The days of Postgres may be fewer than what Kafka holds.
    return {
        p: min((at for at in (found, before.get(p)) if at is not None), default=None) for p, found in in_log.items()
    }


def _is_before(one: int | None, other: int | None) -> bool:
    return one is not None and (other is None or one < other)


async def _copied_at(sources: Sources, ms: int, read: Mapping[int, int]) -> dict[int, int | None]:
    """The same by Postgres alone."""
    found = await sources.history.offsets_at(ms)
    coverage = await sources.history.coverage()
    if any(p not in found and next_ > (coverage[p].next if p in coverage else 0) for p, next_ in read.items()):
        raise LogUnavailable("Postgres has yet to copy what tells where that time lies, and Kafka does not answer")
    # The days of Postgres may be fewer than what Kafka holds, whose first offset only rises.
    if any(held.first > 0 and sources.lowest_in_log(p) < held.first for p, held in coverage.items()):
        raise LogUnavailable("Kafka may hold more than Postgres of when that time was, and does not answer")
    return {p: found.get(p) for p in read}


def starts_at(offsets: Mapping[int, int | None], ends: Mapping[int, int]) -> dict[int, int]:
    """The position before these offsets; where there is none, before the end `ends` (the offset that comes next)."""
    return {p: (ends[p] if offset is None else offset) - 1 for p, offset in offsets.items()}


def clipped(served: Mapping[int, int], upto: Mapping[int, int], partitions: Collection[int]) -> dict[int, int]:
    """How far these partitions have been served, no further than `upto`."""
    return {p: min(offset, upto[p]) for p, offset in served.items() if p in partitions}
