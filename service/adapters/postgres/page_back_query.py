"""The queries that look at rows without giving all of them: pages back, and pages of some types only.

Each looks at a bounded number of rows (`$8`) of a channel's index, gives those that match up to the limit, and
the last row that it looked at, so that the reader knows how far it came. Payloads of the rest are not touched.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

from lastseen.channels import Channel
from lastseen.names import PROJECT_STATE_TYPES, TASK_STATE_TYPES

from service.adapters.postgres.page_query import STATE_ROWS, branches, ids_of
from service.adapters.postgres.rows import given

FIXED_ARGUMENTS: Final = 9
"""$1 epoch, $2 limit, $3 partitions, $4 and $5 offsets, $6 first day, $7 last day, $8 rows looked at, $9 types
(null: all); then ids per kind."""

_NARROW: Final = {"task": TASK_STATE_TYPES, "project": PROJECT_STATE_TYPES}
_MATCHES: Final = "($9::text[] IS NULL OR {}.type = ANY($9))"
_SAME_DAYS: Final = "epoch = $1 AND bucket BETWEEN $6 AND $7 AND partition = v.partition"
_DOWN: Final = f'{_SAME_DAYS} AND "offset" <= v.upto AND "offset" >= v.down_to ORDER BY "offset" DESC LIMIT $8'
_DOWNWARDS: Final = 'r."offset" DESC'
_UPWARDS: Final = 'r.partition, r."offset"'
_UP: Final = f'{_SAME_DAYS} AND "offset" > v.after AND "offset" <= v.upto ORDER BY "offset" LIMIT $8'


def back_query(channels: Sequence[Channel], types: Collection[str] = ()) -> tuple[str, list[list[str]]]:
    """The last rows of each partition, `$4` being the highest offset and `$5` the lowest.

    Both limits are a partition's. Rows come by partition, then descending. Behind the record's columns: `looked_at`,
    how many rows down it is. Where `types`, which go in as `$9` all the same, are of those that states are made of, no
    others are looked at.
    """
    with_id, without_id, ids = ids_of(channels)
    is_narrow = bool(types) and all(kind in _NARROW and _NARROW[kind] >= {*types} for kind in (*with_id, *without_id))
    return _back(with_id, without_id, is_narrow), ids


def some_types_query(channels: Sequence[Channel]) -> tuple[str, list[list[str]]]:
    """The next rows, `$4` being the offsets after which and `$5` those up to which.

    Both limits are of all partitions. Rows come by partition and offset. Behind the record's columns: `looked_at`, the
    number of the row.
    """
    with_id, without_id, ids = ids_of(channels)
    return _some_types(with_id, without_id), ids


@lru_cache
def _back(with_id: tuple[str, ...], without_id: tuple[str, ...], is_narrow: bool) -> str:
    # Here as below only constants go into the text; what is asked for goes in as arguments.
    found = branches(with_id, without_id, _DOWN, FIXED_ARGUMENTS, STATE_ROWS if is_narrow else {})
    looked = f'SELECT * FROM ({" UNION ALL ".join(found)}) u ORDER BY u."offset" DESC LIMIT $8'  # noqa: S608
    return (
        f"SELECT {_given('g')}, g.looked_at"  # noqa: S608
        " FROM unnest($3::int[], $4::bigint[], $5::bigint[]) AS v(partition, upto, down_to)"
        f" CROSS JOIN LATERAL ({_counted(looked, _DOWNWARDS)}) g"
        f' ORDER BY v.partition, g."offset" DESC'
    )


@lru_cache
def _some_types(with_id: tuple[str, ...], without_id: tuple[str, ...]) -> str:
    looked = (
        "SELECT u.* FROM (SELECT * FROM unnest($3::int[], $4::bigint[], $5::bigint[]) AS w(partition, after, upto)"  # noqa: S608
        " ORDER BY partition) v"
        f" CROSS JOIN LATERAL ({' UNION ALL '.join(branches(with_id, without_id, _UP, FIXED_ARGUMENTS))}) u"
        ' ORDER BY v.partition, u."offset" LIMIT $8'
    )
    return (
        f"SELECT {_given('g')}, g.looked_at"  # noqa: S608
        f" FROM ({_counted(looked, _UPWARDS)}) g"
        ' ORDER BY g.partition, g."offset"'
    )


def _counted(looked: str, order: str) -> str:
    """Of the rows looked at: those that match, up to the limit, and the last one there may be."""
    matches = _MATCHES.format("r")
    return (
        f"SELECT n.* FROM (SELECT r.*, row_number() OVER seen AS looked_at,"  # noqa: S608
        f" count(*) FILTER (WHERE {matches}) OVER seen AS matching"
        f" FROM ({looked}) r WINDOW seen AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)) n"
        f" WHERE (n.matching <= $2 AND {_MATCHES.format('n')}) OR n.looked_at = $8"
    )


def _given(row: str) -> str:
    return given(row, f"CASE WHEN {row}.matching <= $2 AND {_MATCHES.format(row)} THEN {row}.payload END")
