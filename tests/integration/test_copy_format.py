"""Rows made of a record's own bytes are, in Postgres, those that the driver makes of Python's values."""

from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters.postgres.copy_format import COPY_COLUMNS, copy_bytes, place_bytes, row_bytes
from service.adapters.postgres.days import ensure_days
from service.adapters.postgres.log_store import copy_in
from service.adapters.postgres.pool import Connection, open_pool
from service.adapters.postgres.rows import ChannelColumns, channels_of, records_of, time_of
from service.adapters.postgres.rows import given as selected
from service.domain.records import Record

YEAR_1_MS = -62_135_596_800_000
END_OF_9999_MS = 253_402_300_799_999
BIGINT = 2**63 - 1

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
channels = st.builds(channels_of, *[st.none() | ids] * 3, st.booleans(), st.booleans())
records = st.builds(
    Record,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, BIGINT),
    # The driver takes the first moment of the year 1 for "before all times".
    appended_at=st.integers(YEAR_1_MS + 1, END_OF_9999_MS) | st.sampled_from([YEAR_1_MS + 1, -1, 0, END_OF_9999_MS]),
    id=texts,
    type=texts,
    channels=channels,
    ttl=st.none() | st.integers(-(2**63), BIGINT) | st.sampled_from([0, BIGINT]),
    value=texts.map(str.encode) | st.sampled_from([b"", b"x" * 100_000, "é\u2028🎉\\u0000".encode() * 9_000]),
)
logs = st.lists(records, max_size=12, unique_by=lambda record: (record.partition, record.offset))


def plain_row(epoch: int, bucket: date, record: Record) -> tuple[object, ...]:
    """The row of COPY_COLUMNS, by Python's values."""
    by_kind = dict(name.partition(":")[::2] for name in record.channels)
    columns = ChannelColumns(
        by_kind.get("task"), by_kind.get("project"), by_kind.get("user"), "system" in by_kind, "broadcast" in by_kind
    )
    return (
        *(epoch, record.partition, bucket, record.type, record.ttl, *columns),
        *(record.offset, time_of(record.appended_at), record.id, record.value.decode()),
    )


@pytest.fixture
async def sql(database: str) -> AsyncIterator[Connection]:
    """A connection to a log whose days are there."""
    async with open_pool(database) as pool, pool.acquire() as connection:
        await ensure_days(connection)
        yield connection


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(found=logs, epoch=st.integers(-(2**31), 2**31 - 1), ahead=st.integers(0, 3))
async def test_whatever_a_record_holds_its_row_is_the_drivers(
    sql: Connection, found: list[Record], epoch: int, ahead: int
) -> None:
    bucket = await sql.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date") + timedelta(days=ahead)
    transaction = sql.transaction()
    await transaction.start()
    try:
        await sql.execute("CREATE TEMPORARY TABLE plain (LIKE log) ON COMMIT DROP")
        rows = [plain_row(epoch, bucket, record) for record in found]
        await sql.copy_records_to_table("plain", columns=COPY_COLUMNS, records=rows)
        placed = [(place_bytes(epoch, record.partition, bucket), [row_bytes(record)]) for record in found]
        await copy_in(sql, copy_bytes(placed))
        held = await sql.fetch("TABLE plain EXCEPT ALL TABLE log UNION ALL (TABLE log EXCEPT ALL TABLE plain)")
        assert [dict(row) for row in held] == []
        assert await sql.fetchval("SELECT count(*) FROM log") == len(found)
        read = records_of(await sql.fetch(f"SELECT {selected('log')} FROM log"))
        key = lambda record: (record.partition, record.offset)  # noqa: E731
        assert sorted(read, key=key) == sorted(found, key=key)
    finally:
        await transaction.rollback()
