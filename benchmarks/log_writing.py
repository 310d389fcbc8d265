"""How fast the log writer copies, against a bare COPY of the same rows and against appending them.

    python -m benchmarks.log_writing [--events 200000]

Everything runs on servers of its own, durable as in production. The ratio is what counts: rates depend on the machine.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
import uuid
from contextlib import aclosing
from pathlib import Path
from statistics import median

import asyncpg
from aiokafka import AIOKafkaProducer
from lastseen.envelope import Event
from lastseen.record import NewRecord, encode

from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.kafka.topics import ensure_topic
from service.adapters.postgres.days import ensure_days
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rows import LOG_COLUMNS, row_of
from service.adapters.postgres.schema import upgrade
from service.domain.records import read_record
from service.embedded.data_dir import open_data_dir
from service.embedded.stack import Stack, running

BATCH = 2_000
PARTITIONS = 12
RUNS = 3


class _Quiet:
    def tell(self, line: str) -> None:
        pass

    def fetched(self, had: int, total: int) -> None:
        pass


def make_records(count: int) -> list[NewRecord]:
    """Task output of 300 tasks in 100 projects, some 550 bytes of JSON each."""
    texts = ["x" * (100 + number % 200) for number in range(100)]
    events = [
        Event.model_validate(
            {
                "type": "task_output",
                "task_id": f"task-{number % 300}",
                "project_id": f"project-{number % 100}",
                "user_id": f"user-{number % 50}",
                "data": {"stream": "stdout", "offset": number * 100, "bytes": 100, "text": texts[number % 100]},
            }
        )
        for number in range(BATCH)
    ]
    records: list[NewRecord] = []
    for number in range(count):
        record = encode(events[number % BATCH]) if number < BATCH else records[number % BATCH]
        id_ = uuid.uuid4().hex.encode()
        headers = tuple((name, id_ if name == "id" else value) for name, value in record.headers)
        records.append(record._replace(headers=headers))
    return records


async def time_appending(log: KafkaLog, records: list[NewRecord]) -> float:
    """Records a second through `KafkaLog.append`."""
    started = time.perf_counter()
    for at in range(0, len(records), BATCH):
        await log.append(records[at : at + BATCH])
    return len(records) / (time.perf_counter() - started)


async def time_bare_producer(kafka: str, topic: str, log: KafkaLog, records: list[NewRecord]) -> float:
    """Records a second through aiokafka alone, as safe: idempotent, acks=all, the same batches."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, enable_idempotence=True, acks="all", max_batch_size=128 * 1024
    ) as producer:
        started = time.perf_counter()
        for at in range(0, len(records), BATCH):
            sent = [
                await producer.send(topic, record.value, record.key, headers=list(record.headers))
                for record in records[at : at + BATCH]
            ]
            await asyncio.gather(*sent)
        return len(records) / (time.perf_counter() - started)


async def time_log_writer(stack: Stack, topic: str, database_url: str, total: int) -> float:
    """Offsets a second from the first that is written to the last."""
    environment = {
        **os.environ,
        "LASTSEEN_KAFKA": stack.kafka,
        "LASTSEEN_DATABASE_URL": database_url,
        "LASTSEEN_TOPIC": topic,
    }
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consumers.log_writer", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    connection = await asyncpg.connect(database_url)
    try:
        started, before, done = 0.0, 0, 0
        while done < total:
            done = await connection.fetchval("SELECT coalesce(sum(next_offset), 0)::bigint FROM projection_offset")
            if not before and done:
                started, before = time.perf_counter(), done
            await asyncio.sleep(0.01)
        return (total - before) / (time.perf_counter() - started)
    finally:
        await connection.close()
        writer.terminate()
        await writer.wait()


async def time_bare_copy(log: KafkaLog, database_url: str) -> float:
    """Rows a second of the same rows, made beforehand, by COPY and nothing else, BATCH rows a transaction."""
    async with open_pool(database_url) as pool, pool.acquire() as connection:
        await ensure_days(connection)
        bucket = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
        rows = []
        for partition, (first, next_) in (await log.bounds()).items():
            async with aclosing(log.read(partition, first, next_)) as batches:
                async for batch in batches:
                    rows += [row_of(1, bucket, read_record(raw)) for raw in batch.records]
        started = time.perf_counter()
        for at in range(0, len(rows), BATCH):
            await connection.copy_records_to_table("log", columns=LOG_COLUMNS, records=rows[at : at + BATCH])
        return len(rows) / (time.perf_counter() - started)


async def new_database(stack: Stack) -> str:
    """A migrated database that holds nothing yet."""
    name = f"bench_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(stack.admin_url)
    await connection.execute(f"CREATE DATABASE {name} OWNER lastseen")
    await connection.close()
    url = stack.database_url.rsplit("/", 1)[0] + "/" + name
    await asyncio.to_thread(upgrade, url)
    return url


async def run_once(stack: Stack, records: list[NewRecord]) -> tuple[float, float, float, float]:
    """Rates of: appending, a bare producer, the log writer, a bare COPY."""
    topic, other = (f"bench-{uuid.uuid4().hex}" for _ in range(2))
    info = await ensure_topic(stack.kafka, topic, partitions=PARTITIONS)
    await ensure_topic(stack.kafka, other, partitions=PARTITIONS)
    written, copied = await new_database(stack), await new_database(stack)
    async with open_pool(written) as pool:
        await Epochs(pool).ensure(info.id, info.partitions)
    async with open_log(stack.kafka, topic) as log:
        return (
            await time_appending(log, records),
            await time_bare_producer(stack.kafka, other, log, records),
            await time_log_writer(stack, topic, written, len(records)),
            await time_bare_copy(log, copied),
        )


async def main(count: int, folder: Path) -> None:
    records = make_records(count)
    with open_data_dir(folder / "data") as data_dir:
        async with running(data_dir, progress=_Quiet()) as stack:
            runs = [await run_once(stack, records) for _ in range(RUNS)]
    append, producer, writer, copy = (median(rates) for rates in zip(*runs, strict=True))
    print(f"{count} events of {len(records[0].value)} bytes, medians of {RUNS} runs")
    print(f"append {append:,.0f}/s : bare producer {producer:,.0f}/s = {append / producer:.2f}")
    print(f"log writer {writer:,.0f}/s : bare COPY {copy:,.0f}/s = {writer / copy:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    with tempfile.TemporaryDirectory(prefix="lastseen-bench-") as temporary:
        # Postgres, which never runs as root, has to get in.
        os.chmod(temporary, 0o711)
        asyncio.run(main(parser.parse_args().events, Path(temporary)))
