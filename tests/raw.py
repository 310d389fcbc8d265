"""Raw records for tests: as Kafka would hand them over."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lastseen.envelope import Event
from lastseen.record import encode

APPENDED_AT = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Raw:
    """`service.domain.records.RawRecord`, by hand."""

    partition: int
    offset: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default=())
    key: bytes | None = None
    timestamp: int = APPENDED_AT


def raw_of(partition: int, offset: int, event: Event, *, timestamp: int = APPENDED_AT) -> Raw:
    """The record of an event, as our producers write it."""
    record = encode(event)
    return Raw(partition, offset, record.value, record.headers, record.key, timestamp)


def task_event(task: str = "t", type_: str = "task_output", **more: object) -> Event:
    """A task event with what is needed."""
    return Event.model_validate({"type": type_, "category": "task", "task_id": task, **more})
