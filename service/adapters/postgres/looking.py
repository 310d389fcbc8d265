"""What the queries that look through rows have in common: where they were cut."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from service.domain.errors import HistoryUnavailable

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


def gone(partition: int, after: int) -> HistoryUnavailable:
    """The history no longer holds, or not yet, what was asked for."""
    return HistoryUnavailable(
        f"what follows offset {after} of partition {partition} was dropped from the history", retry_after=0.2
    )
