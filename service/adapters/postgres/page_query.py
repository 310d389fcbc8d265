"""The query of one page: a branch for each kind of channel, each partition by its index and up to the limit."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from lastseen.channels import Channel
from lastseen.names import LEFT_OUT_OFFLINE, PROJECT_STATE_TYPES, TASK_STATE_TYPES

from service.adapters.postgres.rows import READ_COLUMNS, given

KINDS_WITH_ID: Final = ("task", "project", "user")
KINDS_WITHOUT_ID: Final = ("system", "broadcast")

FIXED_ARGUMENTS: Final = 7
"""$1 epoch, $2 limit, $3 partitions, $4 after, $5 upto, $6 first day, $7 last day; then ids per kind."""

_WITHIN: Final = (
    'epoch = $1 AND bucket BETWEEN $6 AND $7 AND partition = v.partition AND "offset" > v.after AND "offset" <= v.upto'
    ' ORDER BY "offset" LIMIT $2'
)


def _listed(types: frozenset[str]) -> str:
    return ", ".join(repr(name) for name in sorted(types))


_OFFLINE: Final = f"type NOT IN ({_listed(LEFT_OUT_OFFLINE)})"
"""As the index `log_inbox` has it."""
STATE_ROWS: Final = {
    "task": f"type IN ({_listed(TASK_STATE_TYPES)})",
    "project": f"type IN ({_listed(PROJECT_STATE_TYPES)})",
}
"""As the indexes `log_task_state` and `log_project_state` have it."""


def page_query(channels: Sequence[Channel], *, offline: bool = False) -> tuple[str, list[list[str]]]:
    """The statement for these channels, and its arguments after the fixed ones.

    With `offline`, without what is not among offline messages.
    """
    with_id, without_id, ids = ids_of(channels)
    return _statement(with_id, without_id, offline), ids


def ids_of(channels: Sequence[Channel]) -> tuple[tuple[str, ...], tuple[str, ...], list[list[str]]]:
    """The kinds among the channels that have ids, those that have none, and the ids of each of the former."""
    asked = {channel.kind for channel in channels}
    ids = {
        kind: sorted({channel.id for channel in channels if channel.kind == kind})
        for kind in KINDS_WITH_ID
        if kind in asked
    }
    return tuple(ids), tuple(kind for kind in KINDS_WITHOUT_ID if kind in asked), list(ids.values())


def branches(
    with_id: tuple[str, ...],
    without_id: tuple[str, ...],
    within: str,
    fixed: int,
    only: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """For each kind a query for the rows of its channels that lie `within`; ids come behind `fixed` arguments.

    `only` narrows kinds down to some of their rows, by a condition that an index has.
    """
    # Only constants go into the text; what is asked for goes in as arguments.
    found = [
        f"SELECT l.* FROM unnest(${fixed + place}::text[]) c(id) CROSS JOIN LATERAL"  # noqa: S608
        f' (SELECT {READ_COLUMNS} FROM log WHERE "{kind}" = c.id {_and(only.get(kind))}AND {within}) l'
        for place, kind in enumerate(with_id, 1)
    ]
    return found + [f"(SELECT {READ_COLUMNS} FROM log WHERE {kind} AND {within})" for kind in without_id]  # noqa: S608


def _and(condition: str | None) -> str:
    return f"AND {condition} " if condition else ""


@lru_cache
def _statement(with_id: tuple[str, ...], without_id: tuple[str, ...], offline: bool) -> str:
    within = f"{_OFFLINE} AND {_WITHIN}" if offline else _WITHIN
    return (
        f"SELECT {given('r')}"  # noqa: S608
        " FROM (SELECT * FROM unnest($3::int[], $4::bigint[], $5::bigint[]) AS w(partition, after, upto)"
        " ORDER BY partition) v"
        f" CROSS JOIN LATERAL ({' UNION ALL '.join(branches(with_id, without_id, within, FIXED_ARGUMENTS))}) r"
        f' ORDER BY v.partition, r."offset" LIMIT $2'
    )
