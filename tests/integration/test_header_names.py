"""A header name that is not UTF-8 stops no reader."""

from contextlib import aclosing

import aiokafka.producer.message_accumulator as accumulator
import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from service.adapters.kafka.log import KafkaLog
from tests.events import records_of, task_events
from tests.integration.conftest import LogWriters, until_written
from tests.ledger import check_ledger
from tests.raw import task_event


class Latin1(str):
    """A name that a producer in another language might send."""

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:
        return super().encode("latin-1", errors)


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "snappy", "zstd"])
async def test_a_foreign_header_name_is_escaped_and_everything_around_it_read(
    kafka: str,
    topic: str,
    database: str,
    log: KafkaLog,
    log_writers: LogWriters,
    sql: asyncpg.Connection,
    compression: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only the parser in Python calls `encode` on the name.
    monkeypatch.setattr(accumulator, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    async with AIOKafkaProducer(bootstrap_servers=kafka, compression_type=compression) as producer:
        batch = producer.create_batch()
        for number in range(9):
            ours = records_of([task_event(data={"n": number})])[0]
            headers: list[tuple[str, bytes | None]] = list(ours.headers)
            if number in (3, 4):
                headers.append((Latin1("café"), b"\xff"))
            if number == 6:
                headers = [(Latin1("größe"), None)]
            value = b"not json" if number == 6 else ours.value
            assert batch.append(key=ours.key, value=value, timestamp=None, headers=headers)
        await (await producer.send_batch(batch, topic, partition=0))
    monkeypatch.undo()
    before = await log.append(records_of(task_events(20)))

    next_ = (await log.bounds())[0].next
    async with aclosing(log.read(0, 0, next_)) as batches:
        records = [record async for batch in batches for record in batch.records]
    assert [record.offset for record in records] == list(range(next_))
    assert records[3].headers[-1] == ("caf\\xe9", b"\xff")
    assert list(records[6].headers) == [("gr\\xf6\\xdfe", None)]

    await log_writers.start()
    await until_written(log, sql)
    rows = await sql.fetchval("SELECT count(*) FROM log")
    kept = await sql.fetch('SELECT "offset", reason, headers FROM quarantine')
    assert rows == 8 + len(before)
    assert [(row["offset"], row["reason"]) for row in kept] == [(6, "json")]
    assert kept[0]["headers"] == '[["gr\\\\xf6\\\\xdfe", null]]'
    assert (await check_ledger(kafka, topic, database)).quarantined == 1
