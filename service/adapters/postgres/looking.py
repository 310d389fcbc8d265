"""What the queries that look through rows have in common: where they were cut, and their records."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from service.adapters.postgres.rows import record_of
from service.domain.errors import HistoryUnavailable
from service.domain.records import Record

LOOKED_AT: Final = 10_000
"""Rows of a channel that one query looks at, at most, for those of some types."""


def last_seen(rows: Sequence[asyncpg.Record], limit: int, looked_at: int) -> asyncpg.Record | None:
    """The row at which a query of `page_back_query` was cut, by either limit; None where it was not.

    `rows` are all of it where its limits are of all partitions, else those of one partition.
    """
    matching = [row for row in rows if row["payload"] is not None]
    if len(matching) >= limit:
        return matching[-1]
    return rows[-1] if rows and rows[-1]["looked_at"] == looked_at else None


def distinct(rows: Sequence[asyncpg.Record]) -> list[Record]:
    """The records of rows in order, where one of two channels comes twice; those without payload are left out."""
    records: list[Record] = []
    last = (-1, -1)
    for row in rows:
        place = row[0], row[1]
        if place != last and row["payload"] is not None:
            records.append(record_of(row))
            last = place
    return records


def gone(partition: int, after: int) -> HistoryUnavailable:
    """The history no longer holds, or not yet, what was asked for."""
    return HistoryUnavailable(
        f"what follows offset {after} of partition {partition} was dropped from the history", retry_after=0.2
    )
