"""A real Kafka that loses what it had acknowledged, under those that read it."""

import asyncio
import json
import os
import signal
import struct
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from service.adapters.kafka.log import open_log
from service.adapters.kafka.producer import Appender
from service.embedded import jars
from service.embedded.free_ports import choose
from service.embedded.kafka import Broker, Kafka
from service.embedded.supervisor import Supervisor
from tests.conftest import Told
from tests.events import records_of
from tests.integration.conftest import consumers
from tests.ledger import check_ledger
from tests.nodes import Ground, new_ground, numbers, output
from tests.raw import task_event
from tests.up_process import lastseen
from tests.waiting import until

PROJECT = {"project_id": "p"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTSEEN_LOSS_SECONDS", "1")


@dataclass
class Losing:
    """A broker of the tests' own."""

    kafka: str
    data: Path
    supervisor: Supervisor

    async def lose(self, topic: str, partition: int, first: int) -> None:
        """Have it come back without what it had from the offset `first` on, as after a disk that lied."""
        before = self.supervisor.pids["kafka-1"]
        os.kill(before, signal.SIGKILL)
        folder = self.data / f"{topic}-{partition}"
        (segment,) = folder.glob("*.log")
        os.truncate(segment, _where(segment.read_bytes(), first))
        host, _, port = self.kafka.partition(":")

        async def is_back() -> bool:
            if self.supervisor.pids["kafka-1"] == before:
                return False
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                return False
            writer.close()
            return True

        await until(is_back, timeout=60, what="the broker being back")


def _where(segment: bytes, first: int) -> int:
    """Where the batch that begins at an offset lies in a segment."""
    at = 0
    while at < len(segment):
        offset, length = struct.unpack_from(">qi", segment, at)
        if offset >= first:
            assert offset == first, "batches of one record each"
            return at
        at += 12 + length
    raise AssertionError(f"nothing at {first}")


@pytest.fixture(scope="module")
async def losing(open_folder: Path) -> AsyncIterator[Losing]:
    """A broker that may lose records."""
    folder = open_folder / "losing"
    (folder / "run").mkdir(parents=True)
    paths = await asyncio.to_thread(
        jars.class_path, jars.default_cache(), jars.read_lock(), Told().fetched, threading.Event()
    )
    port, controller = choose(2)
    broker = Broker(1, port, controller, folder / "kafka-1")
    kafka = Kafka([broker], "losing-cluster-id-0000", paths, folder)
    await kafka.prepare()
    async with Supervisor(folder / "run", tell=Told().tell) as supervisor:
        await supervisor.start(*kafka.children())
        yield Losing(kafka.bootstrap, broker.folder / "data", supervisor)


@pytest.fixture
async def ground(losing: Losing, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(losing.kafka, postgres_url, partitions=2) as ground:
        yield ground


@pytest.fixture
async def sql(ground: Ground) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(ground.database_url)
    yield connection
    await connection.close()


async def until_copied(ground: Ground, sql: asyncpg.Connection, epoch: int) -> None:
    """Wait until log and rights of an epoch stand where Kafka ends."""
    query = "SELECT partition, next_offset FROM projection_offset WHERE epoch = $1 AND projection = $2"
    async with open_log(ground.kafka, ground.topic) as log:

        async def copied() -> bool:
            ends = {partition: bounds.next for partition, bounds in (await log.bounds()).items()}
            found = [dict(map(tuple, await sql.fetch(query, epoch, of))) for of in ("log", "rights")]
            return found == [ends, ends]

        await until(copied, timeout=30, what=f"all of Kafka in epoch {epoch} of Postgres")


async def test_a_loss_starts_an_epoch_and_whoever_comes_back_is_told(
    losing: Losing, ground: Ground, sql: asyncpg.Connection
) -> None:
    async with ground.log_writer(), ground.projections(), ground.node(kafka_timeout_seconds=5) as node:
        for number in range(12):
            (place,) = await node.publish(output("t", number, **PROJECT))
        partition = place["partition"]
        await until_copied(ground, sql, 1)
        token = f"{ground.epoch}:{partition}={place['offset']},{1 - partition}=-1"
        await losing.lose(ground.topic, partition, 4)
        assert node.process is not None
        async with asyncio.timeout(40):
            assert await node.process.wait() == 1
        await until(lambda: sql.fetchval("SELECT announced_at FROM epoch WHERE number = 2"), timeout=30)
        (_, epoch) = await sql.fetch("SELECT name, reason, lost FROM epoch ORDER BY number")
        assert epoch["reason"] == "lost"
        assert f"[{partition}, 4, 12]" in epoch["lost"]

        await node.start()
        for number in range(100, 103):
            await node.publish(output("t", number, **PROJECT))
        async with node.client(after=token) as client:
            await client.begin()
            gap = await client.hear("gap")
            assert (gap["reason"], gap["requested"]) == ("epoch", token)
            assert gap["earliest"].startswith(f"{epoch['name']}:")
            told = await client.hear("system_service_disruption")
            assert told["data"]["lost"] == [{"partition": partition, "first": 4, "next": 12}]
            await client.subscribe("project:p", after=token)
            await client.hear("gap", reason="epoch")
            await client.hear("task_output", data={"number": 102})
            assert numbers([m for m in client.events if m["type"] == "task_output"]) == [*range(4), *range(100, 103)]
        await until_copied(ground, sql, 2)
        ledger = await check_ledger(ground.kafka, ground.topic, ground.database_url)
        assert (ledger.lost, ledger.quarantined) == (0, 0)
    status, _, said = await lastseen(
        *("lag", "--kafka", ground.kafka, "--topic", ground.topic, "--database-url", ground.database_url)
    )
    assert status == 0
    assert f"because Kafka had lost 8 offsets: partition {partition} [4, 12)" in said


async def test_a_loss_that_was_written_over_before_anybody_looked_is_found_by_the_records(
    losing: Losing, ground: Ground, sql: asyncpg.Connection, tmp_path: Path
) -> None:
    environment = {**os.environ, **ground.environment}
    async with (
        consumers(environment, tmp_path, "log_writer") as writers,
        ground.projections(),
        Appender(ground.kafka, ground.topic, 2, timeout=10) as appender,
    ):
        writer = await writers.start()
        for number in range(10):
            (place,) = await appender.append(records_of([task_event(data={"number": number})]))
        await until_copied(ground, sql, 1)
        await writers.stop(writer, signal.SIGKILL)
        await losing.lose(ground.topic, place.partition, 6)
        async with Appender(ground.kafka, ground.topic, 2, timeout=30) as other:
            for number in range(10):
                await other.append(records_of([task_event(data={"number": number})]))
        await writers.start()
        await until_copied(ground, sql, 2)
        lost = json.loads(await sql.fetchval("SELECT lost::text FROM epoch WHERE number = 2"))
        ((first, next_),) = [(first, next_) for partition, first, next_ in lost if partition == place.partition]
        # Up to where anybody had read: perhaps some of what was written over it too.
        assert first == 6
        assert 10 <= next_ <= 16
        assert "Kafka has lost records" in writers.said()
        assert (await check_ledger(ground.kafka, ground.topic, ground.database_url)).rows == 17
