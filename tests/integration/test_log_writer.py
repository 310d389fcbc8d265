"""The log writer copies the topic exactly once, and puts aside what it can't copy."""

import json
import signal
from random import Random

import asyncpg
from aiokafka import AIOKafkaProducer
from lastseen.record import NewRecord

from service.adapters.kafka.log import KafkaLog
from tests.events import records_of, task_events
from tests.freezing import freeze, thaw
from tests.integration.conftest import LogWriters, delete_records, until_written
from tests.ledger import check_ledger
from tests.raw import task_event
from tests.waiting import until


async def test_it_copies_everything_and_stops_when_told(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    events = task_events(5_000, random=Random(1))
    places = await log.append(records_of(events[:3_000]))
    writer = await log_writers.start()
    places = [*places, *await log.append(records_of(events[3_000:]))]
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database, acknowledged=places)
    assert ledger.rows == ledger.records == 5_000
    assert await log_writers.stop(writer) == 0
    assert "stopped by SIGTERM" in log_writers.said()


async def test_a_second_start_goes_on_where_the_first_ended(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    for _ in range(3):
        await log.append(records_of(task_events(300)))
        writer = await log_writers.start()
        await until_written(log, sql)
        assert await log_writers.stop(writer, signal.SIGINT) == 0
    assert (await check_ledger(kafka, topic, database)).rows == 900


async def test_a_retry_is_void_for_a_writer_that_started_between(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    records = records_of(task_events(50))
    await log.append(records)
    writer = await log_writers.start()
    await until_written(log, sql)
    await log_writers.stop(writer)
    await log.append(records[:20])
    await log_writers.start()
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    assert (ledger.rows, ledger.void) == (50, 20)
    assert {row["why"] for row in await sql.fetch("SELECT why FROM void")} == {"duplicate"}


async def test_a_retry_counts_again_beyond_the_look_back(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    events = [task_event(data={"n": n}) for n in range(30)]
    records = records_of(events)
    await log.append([*records, records[0], records[25]])
    await log_writers.start(LASTSEEN_LOOK_BACK="10")
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database, look_back=10)
    assert (ledger.rows, ledger.void) == (31, 1)


async def test_what_a_zombie_writes_after_the_end_of_its_task_is_fenced(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    end = task_event(type_="task_failed", data={"reason": "runner_lost"})
    late = task_event(data={"text": "still here"})
    await log.append(records_of([task_event(), end]))
    writer = await log_writers.start()
    await until_written(log, sql)
    await log_writers.stop(writer)
    await log.append(records_of([late, task_event(task="other")]))
    await log_writers.start()
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    assert (ledger.rows, ledger.void) == (3, 1)
    assert await sql.fetchval("SELECT id FROM void WHERE why = 'fenced'") == late.id


async def test_unreadable_records_are_kept_aside_as_they_came(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    good = records_of([task_event()])[0]
    bad = [
        good._replace(value=b'{"id":"\xff"}'),
        good._replace(value=b"[1]"),
        good._replace(value=b'{"a":"\0"}'),
        good._replace(headers=(("v", b"9"),)),
        good._replace(headers=(("v", b"1"), ("id", b"x"))),
        NewRecord(good.key, b"no json", ()),
        NewRecord(good.key, b'{"type":"task_output","task_id":"t","nul\\u0000":1}', ()),
        NewRecord(good.key, b"", (("h\0", b"\0\xff"), ("twice", b"1"), ("twice", b"2"))),
    ]
    await log.append([good, *bad, records_of([task_event()])[0]])
    await log_writers.start()
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    assert (ledger.rows, ledger.quarantined) == (2, len(bad))
    kept = await sql.fetch('SELECT * FROM quarantine ORDER BY "offset"')
    assert [row["value"] for row in kept] == [record.value for record in bad]
    assert [row["key"] for row in kept] == [good.key] * len(bad)
    assert [row["reason"] for row in kept] == [
        "utf8", "not_an_object", "nul", "version", "header", "json", "event", "json",
    ]  # fmt: skip
    assert json.loads(kept[-1]["headers"]) == [["h\0", "AP8="], ["twice", "MQ=="], ["twice", "Mg=="]]
    assert all(row["detail"] and row["id"] is None for row in kept)


async def test_tombstones_and_headers_without_a_value_are_kept_aside(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    good = records_of([task_event()])[0]
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(topic, None, b"k", 0)
        for missing in ("id", "ch", "type", "v"):
            headers = [(name, None if name == missing else value) for name, value in good.headers]
            await producer.send_and_wait(topic, good.value, b"k", 0, headers=headers)
    await log.append([good])
    await log_writers.start()
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    assert ledger.quarantined == 5
    assert ledger.rows == 1


async def test_a_foreign_producers_events_are_written_as_every_reader_derives_them(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        sent = await producer.send_and_wait(
            topic, b'{"type":"task_output","task_id":"t","project_id":"p","data":{"text":"hi"}}', None, 2
        )
    await log_writers.start()
    await until_written(log, sql)
    await check_ledger(kafka, topic, database)
    (row,) = await sql.fetch("SELECT * FROM log")
    assert (row["id"], row["task"], row["project"]) == (f"kafka-2-{sent.offset}", "t", "p")
    assert json.loads(row["payload"])["data"] == {"text": "hi"}


async def test_a_record_that_postgres_refuses_holds_up_nobody(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    await sql.execute("ALTER TABLE log ADD CONSTRAINT no_poison CHECK (payload NOT LIKE '%poison%')")
    events = [
        task_event(task=f"t{n % 9}", data={"text": "poison" if n in (7, 500, 501) else "fine"}) for n in range(900)
    ]
    await log.append(records_of(events))
    writer = await log_writers.start()
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    assert (ledger.rows, ledger.quarantined) == (897, 3)
    kept = await sql.fetch("SELECT * FROM quarantine")
    assert {row["reason"] for row in kept} == {"refused"}
    assert all("no_poison" in row["detail"] for row in kept)
    assert {row["id"] for row in kept} == {events[n].id for n in (7, 500, 501)}
    # The void rule counts it all the same, also for a writer that starts later.
    await log_writers.stop(writer)
    await log.append(records_of([events[7]]))
    await log_writers.start()
    await until_written(log, sql)
    assert (await check_ledger(kafka, topic, database)).void == 1


async def test_offsets_without_a_record_are_counted_as_absent(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    record = records_of([task_event()])[0]
    await log_writers.start()
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"{topic}-tx") as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, record.value, b"k", 1, headers=list(record.headers))
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"never to be seen", b"k", 1)
        await producer.abort_transaction()
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    # The record, the end of its transaction, the aborted record, the end of that one.
    assert (ledger.rows, ledger.absent) == (1, 3)


async def test_what_retention_took_is_a_hole(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    places = await log.append(records_of(task_events(400)))
    writer = await log_writers.start()
    await until_written(log, sql)
    await log_writers.stop(writer)
    written = {p: bounds.next for p, bounds in (await log.bounds()).items()}
    await log.append(records_of(task_events(400)))
    cut = {p: bounds.next - 3 for p, bounds in (await log.bounds()).items() if bounds.next - 3 > written[p]}
    await delete_records(kafka, topic, cut)
    await log_writers.start()
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    assert ledger.lost == sum(cut[p] - written[p] for p in cut)
    holes = await sql.fetch("SELECT partition, first_offset, next_offset, reason FROM hole ORDER BY 1")
    assert [tuple(row) for row in holes] == [(p, written[p], cut[p], "retention") for p in sorted(cut)]
    assert len(places) == 400


async def test_a_topic_whose_start_is_gone_has_a_hole_from_zero(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    await log.append(records_of(task_events(200)))
    cut = {p: bounds.next // 2 for p, bounds in (await log.bounds()).items() if bounds.next > 1}
    await delete_records(kafka, topic, cut)
    await log_writers.start()
    await until_written(log, sql)
    assert (await check_ledger(kafka, topic, database)).lost == sum(cut.values())


async def test_retention_that_overtakes_a_frozen_writer_is_a_hole_too(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    writer = await log_writers.start()
    await log.append(records_of(task_events(100)))
    await until_written(log, sql)
    freeze(writer.pid)
    await log.append(records_of(task_events(4_000)))
    await delete_records(kafka, topic, {p: bounds.next for p, bounds in (await log.bounds()).items()})
    thaw(writer.pid)
    await log.append(records_of(task_events(100)))
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database)
    assert ledger.rows + ledger.lost == 4_200


async def test_a_writer_waits_for_the_epoch_of_its_topic(
    log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    await sql.execute("UPDATE epoch SET partitions = 99")
    await log.append(records_of(task_events(10)))
    writer = await log_writers.start()
    await until(lambda: "start a new epoch" in log_writers.said(), what="a word about the epoch")
    assert await sql.fetchval("SELECT count(*) FROM log") == 0
    await sql.execute("UPDATE epoch SET partitions = $1", log.partitions)
    await until_written(log, sql)
    assert await log_writers.stop(writer) == 0


async def test_a_writer_waits_for_postgres_and_stops_while_it_waits(log_writers: LogWriters, database: str) -> None:
    writer = await log_writers.start(LASTSEEN_DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/none")
    await until(lambda: "Postgres can't be reached" in log_writers.said(), what="a word about Postgres")
    assert await log_writers.stop(writer) == 0
