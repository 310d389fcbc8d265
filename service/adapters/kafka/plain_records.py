"""Records as small tuples: aiokafka's own record takes as long to make as to parse.

A consumer that is opened with `value_deserializer=AS_IT_IS` gives PlainRecord, which is all that
`service.domain.records.RawRecord` asks for. Other consumers of the process are left as they are.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords

from service.adapters.kafka.lenient import LenientRecords


class PlainRecord(NamedTuple):
    """A record of Kafka. `timestamp` is in ms since 1970."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def AS_IT_IS(value: bytes | None) -> bytes | None:  # noqa: N802
    """The value; names the consumers whose records are to be plain."""
    return value


def install() -> None:
    """Let consumers of this process ask for plain records. Doing it again changes nothing."""
    fetcher.PartitionRecords = _records


class Batches(Protocol):
    """Iterates the records of some batches."""

    next_fetch_offset: int
    """The offset behind the last batch that has been iterated."""

    def __iter__(self) -> Iterator[PlainRecord]: ...


def unpacked(partition: TopicPartition, data: bytes, aborted: Sequence[tuple[int, int]] | None, start: int) -> Batches:
    """The records from an offset on in what was fetched of a partition, less those of aborted transactions.

    Iterating raises CorruptRecordException.
    """
    batches: Batches = _PlainRecords(
        partition, LenientRecords(data), aborted, start, None, AS_IT_IS, True, READ_COMMITTED
    )
    return batches


def _records(
    tp: Any, records: Any, aborted: Any, offset: int, key_deserializer: Any, value_deserializer: Any, *rest: Any
) -> PartitionRecords:
    kind = _PlainRecords if value_deserializer is AS_IT_IS else PartitionRecords
    return kind(tp, records, aborted, offset, key_deserializer, value_deserializer, *rest)


class _PlainRecords(PartitionRecords):  # type: ignore[misc]
    """What was fetched of a partition."""

    def __iter__(self) -> Iterator[PlainRecord]:
        # Not by way of `__next__`, one more call a record. Left early, it goes on where it was left.
        records: Iterator[PlainRecord] = self._records_iterator
        return records

    def _consumer_record(self, tp: Any, record: Any) -> PlainRecord:
        # As `PlainRecord(...)` does, less a call.
        return tuple.__new__(
            PlainRecord,
            (tp.partition, record.offset, record.timestamp, record.key, record.value, record.headers),
        )
