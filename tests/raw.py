"""Raw records for tests: as Kafka would hand them over."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lastseen.envelope import Event
from lastseen.record import encode

APPENDED_AT = 1_700_000_000_000
UNUSABLE_VALUE = b'{"data":"\xff"}'


@dataclass(frozen=True, slots=True)
class Raw:
    """`service.domain.records.RawRecord`, by hand."""

    partition: int
    offset: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = field(default=())
    key: bytes | None = None
    timestamp: int = APPENDED_AT


def raw_of(partition: int, offset: int, event: Event, *, timestamp: int = APPENDED_AT) -> Raw:
    """The record of an event, as our producers write it."""
    record = encode(event)
    return Raw(partition, offset, record.value, record.headers, record.key, timestamp)


def unusable_raw(partition: int, offset: int, channels: Sequence[str], *, timestamp: int = APPENDED_AT) -> Raw:
    """A record that names its channels and whose value nobody can use."""
    return Raw(partition, offset, UNUSABLE_VALUE, unusable_headers(channels), None, timestamp)


def unusable_headers(channels: Sequence[str]) -> tuple[tuple[str, bytes], ...]:
    """The headers of such a record."""
    return (("v", b"1"), ("id", b"unusable"), ("ch", ",".join(channels).encode()), ("type", b"task_output"))


def task_event(task: str = "t", type_: str = "task_output", **more: object) -> Event:
    """A task event with what is needed."""
    return Event.model_validate({"type": type_, "category": "task", "task_id": task, **more})
