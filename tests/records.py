"""Readable records for tests of what is folded from them."""

from collections.abc import Sequence
from typing import Any

from lastseen.envelope import Event
from lastseen.record import encode

from service.domain.records import Record, read_record
from tests.raw import APPENDED_AT, Raw


def record_of(offset: int, type_: str, *, partition: int = 0, at: int | None = None, **fields: Any) -> Record:
    """The record of an event of this type at an offset, appended `at` ms (the offset's, if none is given)."""
    encoded = encode(Event.model_validate({"type": type_, **fields}))
    at = offset if at is None else at
    return read_record(Raw(partition, offset, encoded.value, encoded.headers, encoded.key, APPENDED_AT + at))


def rights_log(*events: tuple[str, dict[str, Any]], partition: int = 0) -> Sequence[Record]:
    """Records of a partition from offset 0 on, each given by its type and fields."""
    return [record_of(at, type_, partition=partition, **fields) for at, (type_, fields) in enumerate(events)]
