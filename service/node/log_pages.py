"""Pages of Kafka's records, judged by the void rule: read once, however many want them.

Where Postgres lags or is away, all replays come from here. A page begins at a multiple of _ALIGNED offsets, or where
the one before it ended: so readers that begin anywhere read the same pages.
"""

from collections import OrderedDict
from contextlib import aclosing
from typing import Final, NamedTuple

from service.domain.catchup import NeedsHistory
from service.domain.duplicates import LookBack
from service.domain.errors import Unreadable
from service.domain.records import Record, read_record, stand_in
from service.node.recent_pages import RecentPages
from service.node.sharing import SingleFlight
from service.node.sources import Held, Sources, needed

_ALIGNED: Final = 500
_PAGE_BYTES: Final = 512 * 1024
"""A page ends with the batch that brings its values to this."""
_LOOK_BACKS: Final = 6
"""Places where somebody has just read, and what the void rule knows there: up to a few MB each."""

_Place = tuple[int, int]
"""Partition and offset."""


class LogPage(NamedTuple):
    """The records of a stretch that are not void, and where the next one begins."""

    records: tuple[Record, ...]
    next: int
    is_full: bool
    """Whether nothing can be added to it: else it ends where the log ended."""


class LogPages:
    """Reads for all replays of a node. `look_back` is W of the void rule."""

    def __init__(self, sources: Sources, look_back: int) -> None:
        self._sources = sources
        self._look_back = look_back
        self._reading: SingleFlight[_Place, LogPage] = SingleFlight()
        self._recent: RecentPages[_Place, LogPage] = RecentPages()
        self._look_backs: OrderedDict[_Place, LookBack] = OrderedDict()

    def start(self, partition: int, after: int, held: Held) -> int:
        """Where the page begins that holds the offset behind `after`, or another before it."""
        first = held.log[partition].first
        aligned = max(first, (after + 1) // _ALIGNED * _ALIGNED)
        # Where Kafka has just what the void rule needs for this reader, no more may be asked for.
        can_be_judged = held.history_known or first == 0 or aligned - self._look_back >= first
        return aligned if can_be_judged else after + 1

    async def read(self, partition: int, start: int, upto: int, held: Held) -> LogPage:
        """The page that begins at `start`; Kafka holds `[start, upto]`. Raises LogUnavailable, HistoryUnavailable."""
        place = (partition, start)
        known = self._recent.find(place)
        if known is not None and (known.is_full or known.next > upto):
            return known
        return await self._reading.ask(place, lambda: self._read(partition, start, held))

    async def _read(self, partition: int, start: int, held: Held) -> LogPage:
        look_back = self._look_backs.pop((partition, start), None)
        begin = start
        if look_back is None:
            look_back, begin = await self._begin(partition, start, held)
        end = held.log[partition].next
        stop = min(end, (start // _ALIGNED + 1) * _ALIGNED)
        records: list[Record] = []
        size, reached = 0, start
        async with aclosing(self._sources.log.read(partition, begin, stop)) as batches:
            async for batch in batches:
                for raw in batch.records:
                    try:
                        record = read_record(raw)
                    except Unreadable as error:
                        missing = stand_in(raw, error)
                        if missing is not None and missing.offset >= start:
                            records.append(missing)
                        continue
                    if look_back.judge(record) is None and record.offset >= start:
                        records.append(record)
                        size += len(record.value)
                reached = max(reached, batch.next[partition])
                if size >= _PAGE_BYTES and reached > start:
                    break
        page = LogPage(tuple(records), reached, reached < end)
        self._recent.keep((partition, start), page)
        self._keep(partition, reached, look_back)
        return page

    async def _begin(self, partition: int, start: int, held: Held) -> tuple[LookBack, int]:
        """What the void rule knows before a page, and from where on it has to be told more."""
        first = held.log[partition].first
        coverage = held.history.get(partition)
        look_back = LookBack(self._look_back)
        # W offsets of Kafka do; nearer than that, what Postgres has need not be read again: its ids will do.
        begin = max(first, start - self._look_back)
        if coverage is not None:
            begin = max(begin, min(start, coverage.next))
            for entry in await self._sources.history.look_back(partition, begin - self._look_back, begin):
                look_back.load(entry)
        elif not held.history_known and begin == first > max(start - self._look_back, 0):
            raise needed([NeedsHistory()])
        return look_back, begin

    def _keep(self, partition: int, offset: int, look_back: LookBack) -> None:
        self._look_backs[partition, offset] = look_back
        while len(self._look_backs) > _LOOK_BACKS:
            self._look_backs.popitem(last=False)
