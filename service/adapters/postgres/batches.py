"""What the log writer has read of a partition and not yet written."""

import json
import logging
from base64 import b64encode
from dataclasses import dataclass, field
from typing import NamedTuple

from service.adapters.postgres.copy_format import row_bytes
from service.adapters.postgres.rows import time_of
from service.domain.duplicates import Void
from service.domain.records import RawRecord, Record

logger = logging.getLogger(__name__)

DETAIL_CHARACTERS = 2_000


class Readable(NamedTuple):
    """A readable record that counts, and what it was read from."""

    record: Record
    raw: RawRecord


class Voided(NamedTuple):
    """A readable record that counts for nobody."""

    record: Record
    why: Void


class Quarantined(NamedTuple):
    """A record that is kept out of the log. `record` is set where it was readable and Postgres refused it.

    `channels` are those whose readers are told that it is missing.
    """

    raw: RawRecord
    reason: str
    detail: str
    channels: tuple[str, ...]
    record: Record | None = None


@dataclass(slots=True)
class Batch:
    """Offsets `[first, next)` of a partition; those that none of the lists names held no record."""

    partition: int
    first: int
    next: int
    readable: list[Readable] = field(default_factory=list)
    voids: list[Voided] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    """What `copy_format.row_bytes` makes of the first of `readable`; `make_rows` makes the others."""

    @property
    def records(self) -> int:
        """How many records it holds, of any kind."""
        return len(self.readable) + len(self.voids) + len(self.quarantined)

    @property
    def absent(self) -> int:
        """How many of its offsets Kafka passed without a record."""
        return self.next - self.first - self.records

    def make_rows(self) -> None:
        """Make the rows that are not made yet. A record that no row can hold goes to `quarantined`, as refused."""
        for readable in self.readable[len(self.rows) :]:
            try:
                self.rows.append(row_bytes(readable.record))
            except (OverflowError, ValueError) as error:
                self.refuse(readable, error)

    def refuse(self, readable: Readable, error: Exception) -> None:
        """Move a record from `readable` to `quarantined`."""
        at = self.readable.index(readable)
        del self.readable[at], self.rows[at : at + 1]
        record = readable.record
        logger.error(
            "Postgres refuses offset %d of partition %d, it goes to the quarantine: %s",
            record.offset,
            record.partition,
            error,
        )
        self.quarantined.append(Quarantined(readable.raw, "refused", str(error), record.channels, record))


VOID_COLUMNS = ("epoch", "partition", "offset", "id", "why", "ended_task")
QUARANTINE_COLUMNS = (
    "epoch", "partition", "offset", "reason", "detail", "id", "ended_task", "channels", "key", "value", "headers",
    "appended_at",
)  # fmt: skip


def void_row(epoch: int, entry: Voided) -> tuple[object, ...]:
    """The row of `void`, in the order of VOID_COLUMNS."""
    record = entry.record
    return (epoch, record.partition, record.offset, record.id, entry.why.value, record.ended_task)


def quarantine_row(epoch: int, entry: Quarantined) -> tuple[object, ...]:
    """The row of `quarantine`, in the order of QUARANTINE_COLUMNS. Postgres takes it whatever the record holds."""
    raw, record = entry.raw, entry.record
    headers = [[name, None if value is None else b64encode(value).decode()] for name, value in raw.headers]
    try:
        appended_at = time_of(raw.timestamp)
    except OverflowError:
        appended_at = None
    return (
        epoch,
        raw.partition,
        raw.offset,
        _clean(entry.reason),
        _clean(entry.detail),
        record.id if record else None,
        record.ended_task if record else None,
        ",".join(entry.channels) or None,
        raw.key,
        raw.value,
        json.dumps(headers),
        appended_at,
    )


def _clean(text: str) -> str:
    """`text` without what a Postgres text can't hold: a detail may quote the record."""
    return text[:DETAIL_CHARACTERS].replace("\0", "\\0").encode(errors="backslashreplace").decode()
