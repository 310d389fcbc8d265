"""The log as it is appended to and read."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from lastseen.record import NewRecord

from service.domain.ranges import Bounds
from service.domain.records import RawRecord


class Place(NamedTuple):
    """Where a record stands in the log."""

    partition: int
    offset: int


class TailBatch(NamedTuple):
    """One read of the tail: records in the order of each partition, and how far it has come."""

    records: Sequence[RawRecord]
    next: Mapping[int, int]
    """Per partition that moved: the offset read next. It may pass offsets that hold no record."""


class TailReader(Protocol):
    """A reader of every partition that waits at the head."""

    async def read(self) -> TailBatch:
        """What has come since the last call; waits until something has. Raises LogUnavailable."""
        ...


class EventLog(Protocol):
    """The Kafka topic `events`: the only source."""

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Place]:
        """Append in order and return each one's place once all replicas in sync have it.

        Raises LogUnavailable; then some of the records may have been appended all the same, and a
        retry with the same ids makes duplicates that every reader passes over.
        """
        ...

    def partition_of(self, key: bytes) -> int:
        """The partition that records of this key go to."""
        ...

    async def bounds(self) -> Mapping[int, Bounds]:
        """What is held of each partition now. Raises LogUnavailable."""
        ...

    async def offsets_at(self, ms: int) -> Mapping[int, int | None]:
        """Per partition the first offset held that was appended at or after `ms` (since 1970), None where none was.

        Appending times may go back a little, so later ones may be of before. Raises LogUnavailable.
        """
        ...

    def tail(self, start: Mapping[int, int]) -> AbstractAsyncContextManager[TailReader]:
        """A reader of all partitions from the offsets `start` on (each at or above `first`)."""
        ...

    def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        """The records of `[start, stop)` in batches, each with how far it has come; ends at `stop`.

        `start` must be at or above `first`. Raises LogUnavailable.
        """
        ...
