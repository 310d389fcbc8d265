"""The columns of a row of `log`, and the record that it is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import asyncpg

from service.domain.records import Record

_READ: Final = (
    "partition", '"offset"', "appended_at", "id", "type", "ttl", "task", "project", '"user"', "system", "broadcast",
    "payload",
)  # fmt: skip
READ_COLUMNS: Final = ", ".join(_READ)
"""The columns that `records_of` needs; a query gives them as `given` says."""

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_CACHED_CHANNEL_LISTS: Final = 65_536


def given(row: str, payload: str | None = None) -> str:
    """What a query selects for `records_of`, out of a `row` of READ_COLUMNS; `payload` stands for the row's own."""
    # The driver makes a time with its zone of a timestamp, which takes as long as all other columns together.
    made = {"appended_at": f"date_part('epoch', {row}.appended_at) AS appended_at"}
    if payload is not None:
        made["payload"] = f"{payload} AS payload"
    return ", ".join(made.get(name) or f"{row}.{name}" for name in _READ)


class ChannelColumns(NamedTuple):
    """A record's channels, one column a kind."""

    task: str | None
    project: str | None
    user: str | None
    system: bool
    broadcast: bool


@lru_cache(_CACHED_CHANNEL_LISTS)
def columns_of(channels: tuple[str, ...]) -> ChannelColumns:
    """The columns for `channels`, of which there is at most one of each kind."""
    ids = dict[str, str](name.partition(":")[::2] for name in channels)
    return ChannelColumns(ids.get("task"), ids.get("project"), ids.get("user"), "system" in ids, "broadcast" in ids)


@lru_cache(_CACHED_CHANNEL_LISTS)
def channels_of(
    task: str | None, project: str | None, user: str | None, system: bool, broadcast: bool
) -> tuple[str, ...]:
    """The channels that `columns_of` took apart, in the order that our producers write them."""
    named = (("task", task), ("project", project), ("user", user))
    found = [f"{kind}:{id_}" for kind, id_ in named if id_ is not None]
    if system:
        found.append("system")
    if broadcast:
        found.append("broadcast")
    return tuple(found)


def time_of(ms: int) -> datetime:
    """A time in ms since 1970 as Postgres takes it. Raises OverflowError outside the years 1 to 9999."""
    return _1970 + timedelta(milliseconds=ms)


def ms_of(time: datetime) -> int:
    """A time of Postgres in ms since 1970."""
    return (time - _1970) // _MS


def records_of(rows: Sequence[asyncpg.Record]) -> list[Record]:
    """The records of rows that begin with what `given` says, in order.

    Of one that comes twice in a row, by two channels, once; none of rows without payload.
    """
    records: list[Record] = []
    last_partition = last_offset = -1
    for row in rows:
        # In one step: of a long replay it is as much as what Postgres does for it.
        partition, offset, appended_at, id_, type_, ttl, task, project, user, system, broadcast, payload, *_ = row
        if payload is None or (offset == last_offset and partition == last_partition):
            continue
        last_partition, last_offset = partition, offset
        channels = channels_of(task, project, user, system, broadcast)
        at = round(appended_at * 1000)
        records.append(Record(partition, offset, at, id_, type_, channels, ttl, payload.encode()))
    return records
