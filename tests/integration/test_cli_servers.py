"""`lastseen topics` and `lastseen lag`, as programs, on real servers."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from service.adapters.kafka.log import KafkaLog
from service.adapters.postgres.pool import open_pool
from service.domain.errors import BadRequest
from service.embedded.instance import Instance
from service.main import prepare
from service.ports import Epoch
from tests.events import records_of, task_events
from tests.integration.conftest import Consumers, LogWriters, until_written


async def lastseen(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False, env=env
    )


@pytest.fixture
def data_dir(tmp_path: Path, kafka: str, topic: str, database: str) -> Path:
    """What `lastseen up` leaves for the tools."""
    folder = tmp_path / "data"
    folder.mkdir()
    Instance("http://x", ["http://x"], kafka, topic, database, "none").write(folder)
    return folder


async def test_topics_are_made_listed_and_described(kafka: str) -> None:
    name = f"made-{uuid.uuid4().hex}"
    made = await lastseen("topics", "create", name, "--partitions", "3", "--retention-days", "2", "--kafka", kafka)
    assert made.returncode == 0, made.stderr
    assert f"{name} (3 partitions" in made.stdout
    assert name in (await lastseen("topics", "list", "--kafka", kafka)).stdout.split()
    shown = (await lastseen("topics", "describe", name, "--kafka", kafka)).stdout
    assert "message.timestamp.type = LogAppendTime" in shown
    assert "retention.ms = 172800000" in shown
    assert shown.count("leader 1") == 3
    again = await lastseen("topics", "create", name, "--kafka", kafka)
    assert "was there already" in again.stdout


async def test_a_topic_that_goes_by_its_producers_clocks_is_refused(kafka: str, database: str) -> None:
    name = f"foreign-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
    finally:
        await admin.close()
    done = await lastseen("topics", "create", name, "--kafka", kafka)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"topic {name} is there with message.timestamp.type=CreateTime" in done.stderr
    assert "--add-config message.timestamp.type=LogAppendTime" in done.stderr
    with pytest.raises(BadRequest, match="the log needs LogAppendTime"):
        await prepare(kafka=kafka, database_url=database, topic=name, partitions=2, replication=1)
    async with open_pool(database) as pool:
        assert await pool.fetchval("SELECT count(*) FROM epoch") == 0


async def test_a_default_folder_is_taken_when_nothing_else_is_named(kafka: str, topic: str, data_dir: Path) -> None:
    """As `./dev` has it: its folder counts only where neither another one nor Kafka is named."""
    nowhere = {**os.environ, "LASTSEEN_DEFAULT_DATA_DIR": str(data_dir.parent / "none")}
    missing = await lastseen("topics", "list", env=nowhere)
    assert f"There is no instance in {data_dir.parent / 'none'}" in missing.stderr
    for named in ({"LASTSEEN_KAFKA": kafka}, {"LASTSEEN_DATA_DIR": str(data_dir)}):
        assert topic in (await lastseen("topics", "list", env=nowhere | named)).stdout.split()
    default = nowhere | {"LASTSEEN_DEFAULT_DATA_DIR": str(data_dir)}
    assert topic in (await lastseen("topics", "list", env=default)).stdout.split()


async def test_creating_the_topic_of_the_events_starts_the_epoch(data_dir: Path, topic: str, database: str) -> None:
    done = await lastseen("topics", "create", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    async with open_pool(database) as pool:
        name = await pool.fetchval("SELECT name FROM epoch")
    assert f"epoch {name}, number 1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["topics", "create", "no such name"], "Topic name is invalid"),
        (["topics", "create", "three", "--replication", "3"], "replication factor"),
        (["topics", "describe", "never-made"], "make it with `lastseen topics create`"),
        (["lag"], "--kafka needs --database-url"),
        (["lag", "--topic", "never-made", "--database-url", "postgresql://x@127.0.0.1:1/x"], "no topic never-made"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_sentence(kafka: str, arguments: list[str], said: str) -> None:
    done = await lastseen(*arguments, "--kafka", kafka)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_servers_that_are_away_or_unknown_are_said_in_a_sentence(tmp_path: Path) -> None:
    for arguments, said in (
        (["topics", "list", "--kafka", "127.0.0.1:1"], "does not answer"),
        (["lag", "--kafka", "127.0.0.1:1", "--database-url", "postgresql://x@127.0.0.1:1/x"], "is unavailable"),
        (["lag", "--data-dir", str(tmp_path / "none")], "start one with `lastseen up`"),
    ):
        done = await lastseen(*arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["topics", "list", "--kafka", "foo:bar"], {}, "Kafka's address has to look like host:9092"),
        (["topics", "list", "--kafka", "[::1"], {}, "Kafka's address has to look like host:9092"),
        (["topics", "list", "--kafka", "no-such-host.invalid:9092"], {}, "does not answer"),
        (["topics", "list"], {"LASTSEEN_KAFKA": "foo:bar"}, "LASTSEEN_KAFKA: Kafka's address"),
        (
            ["lag", "--kafka", "127.0.0.1:1", "--database-url", "postgresql://x:hidden@127.0.0.1:abc/z"],
            {},
            "the database address must look like",
        ),
        (["lag", "--kafka", "127.0.0.1:1"], {"LASTSEEN_LOOK_BACK": "x"}, "LASTSEEN_LOOK_BACK: Input should be"),
    ],
)
async def test_addresses_and_settings_that_are_wrong_are_said_in_a_sentence(
    arguments: list[str], environment: dict[str, str], said: str
) -> None:
    done = await lastseen(*arguments, env=os.environ | environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "hidden" not in done.stderr


async def test_lag_counts_what_is_behind_and_what_was_passed_over(
    data_dir: Path,
    log: KafkaLog,
    epoch: Epoch,
    log_writers: LogWriters,
    projections: Consumers,
    sql: asyncpg.Connection,
) -> None:
    records = records_of(task_events(40))
    bad = records[0]._replace(value=b"broken")
    await log.append([*records, records[0], bad])
    before = json.loads((await lastseen("lag", "--data-dir", str(data_dir), "--json")).stdout)
    assert (before["epoch"], before["lag"], before["rights"]) == (epoch.name, 42, 42)
    await log_writers.start()
    await projections.start()
    await until_written(log, sql)
    await until_written(log, sql, projection="rights")
    after = json.loads((await lastseen("lag", "--data-dir", str(data_dir), "--json")).stdout)
    assert after["lag"] == after["rights"] == 0
    bounds = await log.bounds()
    assert {one["partition"]: (one["first"], one["next"]) for one in after["partitions"]} == bounds
    assert all(one["written"] == one["next"] for one in after["partitions"])
    assert sum(one["void"] for one in after["partitions"]) == 1
    assert sum(one["quarantined"] for one in after["partitions"]) == 1
    table = await lastseen("lag", "--data-dir", str(data_dir))
    assert f"epoch {epoch.name}: 0 behind, rights 0 behind" in table.stdout
    assert len(table.stdout.splitlines()) == 2 + len(bounds)
    assert not table.stderr
    await sql.execute("INSERT INTO projection_hole VALUES ('rights', $1, 0, 0, 7)", epoch.number)
    assert "7 offsets were held nowhere any more" in (await lastseen("lag", "--data-dir", str(data_dir))).stderr
