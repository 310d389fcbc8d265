"""What stands in pages of the log for quarantined records, whose channels' readers are told that they are missing."""

from collections.abc import Mapping, Sequence
from typing import Final

from service.adapters.postgres.pool import Connection
from service.adapters.postgres.rows import ms_of
from service.domain.records import Record, Unusable, unusable
from service.ports import HistoryPage


def _query(order: str) -> str:
    # The order is a constant. Nearly always there is nothing, and the index is empty.
    return f"""
        SELECT q.partition, q."offset", q.appended_at, q.channels
        FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS v(partition, after, upto)
        CROSS JOIN LATERAL (
            SELECT partition, "offset", coalesce(appended_at, at) AS appended_at, channels FROM quarantine
            WHERE epoch = $1 AND partition = v.partition AND "offset" > v.after AND "offset" <= v.upto
            AND channels IS NOT NULL AND string_to_array(channels, ',') && $5::text[]
            ORDER BY "offset" {order} LIMIT $6
        ) q
        ORDER BY q.partition, q."offset" {order}
    """  # noqa: S608


_UP: Final = _query("ASC")
_DOWN: Final = _query("DESC")


async def with_missing(
    connection: Connection,
    epoch: int,
    channels: Sequence[str],
    after: Mapping[int, int],
    page: HistoryPage,
    limit: int,
) -> HistoryPage:
    """A page of `History.page` that began `after`, with what stands for records missing from it."""
    ranges = {p: (after.get(p, -1), served) for p, served in page.served.items()}
    missing = await _missing(connection, _UP, epoch, channels, ranges, limit)
    if not missing:
        return page
    records = sorted([*page.records, *missing], key=lambda record: (record.partition, record.offset))
    if len(records) <= limit:
        return HistoryPage(records, page.served)
    last = records[limit - 1]
    served = {p: offset if p < last.partition else after.get(p, -1) for p, offset in page.served.items()}
    return HistoryPage(records[:limit], served | {last.partition: last.offset})


async def with_missing_back(
    connection: Connection,
    epoch: int,
    channels: Sequence[str],
    upto: Mapping[int, int],
    page: HistoryPage,
    limit: int,
) -> HistoryPage:
    """A page of `History.page_back` from `upto` down, with what stands for records missing from it."""
    ranges = {p: (served - 1, upto[p]) for p, served in page.served.items()}
    missing = await _missing(connection, _DOWN, epoch, channels, ranges, limit)
    if not missing:
        return page
    records: list[Record] = []
    served = dict(page.served)
    for partition in sorted(served):
        found = [record for record in (*page.records, *missing) if record.partition == partition]
        found.sort(key=lambda record: -record.offset)
        if len(found) > limit:
            served[partition] = found[limit - 1].offset
        records += found[:limit]
    return HistoryPage(records, served)


async def _missing(
    connection: Connection,
    query: str,
    epoch: int,
    channels: Sequence[str],
    ranges: Mapping[int, tuple[int, int]],
    limit: int,
) -> list[Unusable]:
    """What is missing of the channels in each partition within `(after, upto]`: so much of each that, if there is more
    than `limit`, that shows."""
    open_ = {p: range_ for p, range_ in ranges.items() if range_[0] < range_[1]}
    afters, uptos = [after for after, _ in open_.values()], [upto for _, upto in open_.values()]
    rows = await connection.fetch(query, epoch, list(open_), afters, uptos, list(channels), limit + 1)
    return [
        unusable(row["partition"], row["offset"], ms_of(row["appended_at"]), tuple(row["channels"].split(",")))
        for row in rows
    ]
