"""What becomes of a batch before Postgres sees it."""

from dataclasses import replace

import pytest

from service.adapters.postgres.batches import Batch, Readable
from service.adapters.postgres.copy_format import row_bytes
from service.domain.records import read_record
from tests.raw import APPENDED_AT, raw_of, task_event


def readable(offset: int, *, at: int = APPENDED_AT, ttl: int | None = None) -> Readable:
    raw = raw_of(0, offset, task_event(), timestamp=at)
    return Readable(replace(read_record(raw), ttl=ttl), raw)


def test_rows_are_made_of_what_has_come_since() -> None:
    batch = Batch(0, 0, 4, [readable(0), readable(1)])
    batch.make_rows()
    made = list(batch.rows)
    batch.readable += [readable(2), readable(3)]
    batch.make_rows()
    assert batch.rows[:2] == made
    assert batch.rows == [row_bytes(entry.record) for entry in batch.readable]


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (readable(1, at=10**15), "date value out of range"),
        (readable(1, at=-(10**14)), "date value out of range"),
        (readable(1, ttl=2**63), "the ttl 9223372036854775808 is longer than a column holds"),
    ],
)
def test_what_no_row_can_hold_is_kept_aside_and_the_rest_goes_on(refused: Readable, said: str) -> None:
    batch = Batch(0, 0, 3, [readable(0), refused, readable(2)])
    batch.make_rows()
    assert [entry.record.offset for entry in batch.readable] == [0, 2]
    assert batch.rows == [row_bytes(entry.record) for entry in batch.readable]
    (kept,) = batch.quarantined
    assert (kept.raw, kept.record, kept.channels) == (refused.raw, refused.record, ("task:t",))
    assert kept.reason == "refused"
    assert said in kept.detail
    assert batch.absent == 0
