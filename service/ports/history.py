"""The log in Postgres, by channel."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from service.domain.duplicates import Seen
from service.domain.ranges import Coverage
from service.domain.records import Record


class HistoryPage(NamedTuple):
    """Records of some channels, ascending by (partition, offset), and how far the answer is complete."""

    records: Sequence[Record]
    served: Mapping[int, int]
    """Per partition asked for: everything up to this offset that matches is among the pages so far."""


class History(Protocol):
    """The Postgres log: what the log writer has copied. Void records are not in it.

    For a record that it has in its quarantine, where the channels can be told, pages hold an `Unusable`, whatever the
    types that are asked for.

    Every call raises HistoryUnavailable while the database does not answer.
    """

    async def coverage(self) -> Mapping[int, Coverage]:
        """What is held of each partition; a partition never written is left out."""
        ...

    async def page(
        self,
        channels: Sequence[str],
        after: Mapping[int, int],
        upto: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
        *,
        offline: bool = False,
    ) -> HistoryPage:
        """Up to `limit` next records of the channels, in each partition within `(after, upto]`.

        With `types`, only records of these types; so many others are passed over at once as can be in a moment.
        With `offline` (and no `types`), without the types that are not among offline messages.
        A page shorter than `limit` may still be followed by more: it is finished when `served` has
        reached `upto` everywhere. Each call gets further in at least one partition that is not done,
        provided that coverage reaches `upto`. A partition left out of `after` begins where coverage does.

        Raises HistoryUnavailable too where what follows `after` was dropped: coverage has moved, ask for it again.
        """
        ...

    async def page_back(
        self,
        channels: Sequence[str],
        upto: Mapping[int, int],
        down_to: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
    ) -> HistoryPage:
        """In each partition up to `limit` last records of the channels within `[down_to, upto]`, descending.

        `served` is, per partition, the offset from which on (inclusive) everything that matches is among the pages
        so far: the next page is asked for with `upto` below it. Each call gets further down in at least one
        partition, provided that coverage holds `[down_to, upto]`; else it raises HistoryUnavailable.
        """
        ...

    async def offsets_at(self, ms: int) -> Mapping[int, int]:
        """Per partition the first offset that was appended at or after `ms`; one without any is left out."""
        ...

    async def look_back(self, partition: int, start: int, stop: int) -> Sequence[Seen]:
        """What the void rule needs of `[start, stop)`: the readable records, void ones included, ascending."""
        ...
