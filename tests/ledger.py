"""The ledger: is every record of a topic in Postgres exactly once?

It shares no code with the log writer: a bare consumer reads the whole topic, plain SQL the whole database, and
the void rule is written out anew, the slow and obvious way.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

Rows = dict[tuple[int, int], asyncpg.Record]
"""Rows by (partition, offset)."""

TERMINAL = {"task_completed", "task_failed", "task_cancelled", "task_timeout"}

_TRIES = 4
"""Between its looks at the two something may still be appended, such as that somebody went offline a while ago."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was counted, over all partitions."""

    records: int
    """Records that Kafka holds."""
    rows: int
    void: int
    quarantined: int
    lost: int
    absent: int


@dataclass(frozen=True, slots=True)
class _Database:
    log: Rows
    void: Rows
    quarantine: Rows
    progress: dict[int, tuple[int, int, int]]
    """Partition → first, next, absent."""
    holes: list[tuple[int, int, int]]
    """Partition, first, next."""
    days: list[tuple[int, int, int]]
    """Partition, first, next: in the order of the days."""


async def check_ledger(
    kafka: str,
    topic: str,
    database_url: str,
    *,
    look_back: int = 10_000,
    acknowledged: Iterable[tuple[int, int]] = (),
) -> Ledger:
    """Count everything of the present epoch and compare. Raises AssertionError naming the first thing that is wrong.

    The log writer must have come to the end. `acknowledged` are places that a producer was told.
    """
    for _ in range(_TRIES):
        records, ends, firsts = await _read_topic(kafka, topic)
        held_by_postgres = await _read_database(database_url)
        if {partition: next_ for partition, (_, next_, _) in held_by_postgres.progress.items()} == ends:
            break
    places = {(record.partition, record.offset) for record in records}
    missing = set(acknowledged) - places
    assert not missing, f"acknowledged, but not in Kafka: {sorted(missing)[:5]}"

    # Of dropped days nothing is left but ids for the look-back: the count begins behind them.
    began = {partition: first for partition, (first, _, _) in held_by_postgres.progress.items()}
    rows = held_by_postgres.log
    voids = {place: row for place, row in held_by_postgres.void.items() if place[1] >= began[place[0]]}
    quarantined = {place: row for place, row in held_by_postgres.quarantine.items() if place[1] >= began[place[0]]}
    assert all(offset >= began[partition] for partition, offset in rows), "rows of days that were dropped"
    held = Counter([*rows, *voids, *quarantined])
    assert not (twice := [place for place, times in held.items() if times > 1]), f"in Postgres twice: {twice[:5]}"
    not_copied = sorted(place for place in places - held.keys() if place[1] >= began[place[0]])
    assert not not_copied, f"in Kafka, not in Postgres: {not_copied[:5]} of {len(not_copied)}"
    invented = sorted(place for place in held.keys() - places if place[1] >= firsts[place[0]])
    assert not invented, f"in Postgres, not in Kafka: {invented[:5]} of {len(invented)}"

    for record in records:
        if (row := rows.get((record.partition, record.offset))) is not None:
            _check_row(record, row)
    _check_voids(records, held_by_postgres, began, look_back)
    lost = absent = 0
    for partition, (first, next_, absent_here) in held_by_postgres.progress.items():
        assert next_ == ends[partition], (
            f"partition {partition}: written up to {next_}, Kafka ends at {ends[partition]}"
        )
        lost_here = sum(stop - start for p, start, stop in held_by_postgres.holes if p == partition)
        counted = sum(1 for p, _ in held if p == partition) + lost_here + absent_here
        assert counted == next_ - first, f"partition {partition}: {counted} accounted for, {next_ - first} passed"
        _check_tiling(partition, first, next_, [range_ for p, *range_ in held_by_postgres.days if p == partition])
        lost, absent = lost + lost_here, absent + absent_here
    return Ledger(len(records), len(rows), len(voids), len(quarantined), lost, absent)


async def _read_topic(kafka: str, topic: str) -> tuple[list[ConsumerRecord], dict[int, int], dict[int, int]]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))]
        firsts = {tp.partition: offset for tp, offset in (await consumer.beginning_offsets(tps)).items()}
        ends = {tp.partition: offset for tp, offset in (await consumer.end_offsets(tps)).items()}
        records: list[ConsumerRecord] = []
        while any([await consumer.position(tp) < ends[tp.partition] for tp in tps]):
            for found in (await consumer.getmany(timeout_ms=200)).values():
                records += found
    finally:
        await consumer.stop()
    return records, ends, firsts


async def _read_database(url: str) -> _Database:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            epoch = await connection.fetchval("SELECT max(epoch) FROM projection_offset")
            progress = await connection.fetch(
                "SELECT * FROM projection_offset WHERE projection = 'log' AND epoch = $1", epoch
            )
            holes = await connection.fetch(
                "SELECT partition, first_offset, next_offset FROM hole WHERE epoch = $1 ORDER BY 1, 2", epoch
            )
            days = await connection.fetch(
                "SELECT partition, first_offset, last_offset + 1 FROM log_bucket WHERE epoch = $1 "
                "ORDER BY partition, bucket",
                epoch,
            )
            return _Database(
                await _rows(connection, "log", epoch),
                await _rows(connection, "void", epoch),
                await _rows(connection, "quarantine", epoch),
                {row["partition"]: (row["first_offset"], row["next_offset"], row["absent"]) for row in progress},
                [(row[0], row[1], row[2]) for row in holes],
                [(row[0], row[1], row[2]) for row in days],
            )
    finally:
        await connection.close()


async def _rows(connection: asyncpg.Connection, table: str, epoch: int) -> Rows:
    found = await connection.fetch(f"SELECT * FROM {table} WHERE epoch = $1", epoch)
    rows = {(row["partition"], row["offset"]): row for row in found}
    assert len(found) == len(rows), f"{table} holds a place twice"
    return rows


def _check_row(record: ConsumerRecord, row: asyncpg.Record) -> None:
    where = f"{record.partition}:{record.offset}"
    headers = dict(record.headers)
    if "v" in headers:
        assert row["payload"].encode() == record.value, f"{where}: another payload"
        assert row["id"].encode() == headers["id"], f"{where}: another id"
    assert row["appended_at"].timestamp() * 1000 == record.timestamp, f"{where}: another time"
    payload = json.loads(row["payload"])
    channels = {f"{kind}:{row[kind]}" for kind in ("task", "project", "user") if row[kind] is not None}
    channels |= {kind for kind in ("system", "broadcast") if row[kind]}
    assert channels == set(payload["channels"]), f"{where}: other channels"
    assert (row["id"], row["type"], row["ttl"]) == (payload["id"], payload["type"], payload["ttl"]), where


def _check_voids(records: list[ConsumerRecord], database: _Database, began: dict[int, int], look_back: int) -> None:
    """Judge each record that Postgres knows an id of, by all that lie up to `look_back` offsets before it."""
    rows, voids, refused = database.log, database.void, database.quarantine
    by_partition: dict[int, list[tuple[int, str, str | None, bool]]] = {}
    for place, row in rows.items():
        ended = row["task"] if row["type"] in TERMINAL else None
        by_partition.setdefault(place[0], []).append((place[1], row["id"], ended, False))
    for table in (voids, refused):
        for place, row in table.items():
            if row["id"] is not None:
                by_partition.setdefault(place[0], []).append((place[1], row["id"], row["ended_task"], table is voids))
    tasks = {
        (record.partition, record.offset): name[5:]
        for record in records
        for name in (dict(record.headers).get("ch") or b"").decode().split(",")
        if name.startswith("task:")
    }
    for partition, known in by_partition.items():
        known.sort()
        last_of: dict[str, int] = {}
        end_of: dict[str, int] = {}
        for offset, id_, ended, is_void in known:
            task = tasks.get((partition, offset))
            duplicate = last_of.get(id_, -1 - look_back) >= offset - look_back
            fenced = task is not None and end_of.get(task, -1 - look_back) >= offset - look_back
            # What lies below is there to be looked back at; its own look-back may be gone.
            counts = offset >= began[partition]
            assert not counts or is_void == (duplicate or fenced), (
                f"{partition}:{offset}: void is {is_void}, {duplicate=}, {fenced=}"
            )
            if is_void and counts:
                assert voids[partition, offset]["why"] == ("duplicate" if duplicate else "fenced")
            last_of[id_] = offset
            if ended is not None:
                end_of[ended] = offset


def _check_tiling(partition: int, first: int, next_: int, ranges: list[list[int]]) -> None:
    reached = first
    for start, stop in ranges:
        assert start == reached, f"partition {partition}: the days leave out or repeat offsets at {reached}"
        reached = stop
    assert reached == next_, f"partition {partition}: the days reach {reached} of {next_}"
