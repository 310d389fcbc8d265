"""`lastseen up` driven from outside, as its users do."""

import asyncio
import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from lastseen.commands import Command, CommandName
from lastseen.task_start import TaskStart

from service.adapters.kafka.commands import KafkaCommands
from service.cli.up import sentence
from service.embedded.errors import StartError
from tests.runners import marked
from tests.up_process import Up, free_port, lastseen, runs
from tests.waiting import until


@pytest.fixture(scope="module")
async def up(open_folder: Path) -> AsyncIterator[Up]:
    """A running instance of two nodes, made from nothing."""
    up = Up(open_folder / "instance", "--nodes", "2", "--allow", "sleep *")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LASTSEEN_PARTITIONS", "5")
        try:
            await up.start()
            yield up
        finally:
            await up.close()


async def answers(up: Up) -> bool:
    """Whether every node is ready, and Postgres and Kafka answer."""
    try:
        async with httpx.AsyncClient() as client:
            ready = [(await client.get(f"{node}/readyz")).status_code == 200 for node in up.instance["nodes"]]
        await (await asyncpg.connect(up.instance["database_url"], timeout=2)).close()
    except (httpx.HTTPError, OSError, asyncpg.PostgresError):
        return False
    return all(ready)


async def start_sleeper(kafka: str, seconds: str) -> int:
    """Have the instance's runner run `sleep` so long; its pid."""
    async with KafkaCommands(kafka, "commands") as commands:
        await commands.append(
            Command(
                id=seconds,
                command=CommandName.START,
                task_id=f"sleeper-{seconds}",
                user_id="ann",
                deadline=datetime.now(UTC) + timedelta(seconds=60),
                node="n",
                data=TaskStart(command=("sleep", seconds)).to_data(),
            )
        )
    (pid,) = await until(lambda: marked(seconds), timeout=60, what="the program running")
    return pid


async def test_from_nothing_to_ready(up: Up) -> None:
    first, second = f"http://127.0.0.1:{up.port}", f"http://127.0.0.1:{up.port + 1}"
    assert up.said == f"ready {first}\n"
    await until(lambda: "What to type next" in up.told, what="the help that follows `ready`")
    instance = up.instance
    assert instance["url"] == first
    assert instance["nodes"] == [first, second]
    assert instance["topic"] == "events"
    assert instance["epoch"]
    parts = {"kafka-1", "postgres", "log-writer", "projections", "runner", "node-1", "node-2"}
    assert set(up.pids) == {"supervisor", *parts}
    assert all(runs(pid) for pid in up.pids.values())
    assert await answers(up)
    async with AIOKafkaProducer(bootstrap_servers=instance["kafka"]) as producer:
        assert len(await producer.partitions_for("events")) == 5, "as LASTSEEN_PARTITIONS says"


async def test_what_is_secret_is_its_owners_alone(up: Up) -> None:
    for name in ("instance.json", "jwt-secret", "postgres-password"):
        assert stat.S_IMODE((up.data_dir / name).stat().st_mode) == 0o600, name
    for name in ("logs", "run", "kafka-1", "postgres"):
        assert stat.S_IMODE((up.data_dir / name).stat().st_mode) == 0o700, name


async def test_an_empty_log_gets_a_welcome_task(up: Up) -> None:
    async with asyncio.timeout(60):
        status, output, errors = await lastseen("tail", "task:welcome", "--data-dir", str(up.data_dir))
    assert status == 0, errors
    assert "Welcome to Lastseen." in output
    assert "nothing comes twice" in output


async def test_the_console_is_opened_signed_in(up: Up) -> None:
    await until(lambda: "/#code=" in up.told, what="the link that follows `ready`")
    status, output, errors = await lastseen("console", "--data-dir", str(up.data_dir))
    assert (status, errors) == (0, "")
    address, _, code = output.strip().partition("/#code=")
    async with httpx.AsyncClient(trust_env=False) as http:
        answers = [await http.post(f"{address}/api/v1/console/session", json={"code": code}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 401]
        session = answers[0].json()
        assert (session["user"], session["role"]) == ("local", "admin")
        assert (await http.get(f"{address}/")).status_code == 200


async def test_a_second_up_on_the_same_data_dir_is_refused(up: Up) -> None:
    status, output, errors = await lastseen("up", "--data-dir", str(up.data_dir), "--port", str(free_port()))
    assert status == 1
    assert output == ""
    assert errors.strip().count("\n") == 0, "one sentence"
    assert f"Another instance runs on the data directory {up.data_dir}" in errors
    assert await answers(up), "the first one noticed nothing"


async def test_whatever_is_killed_comes_back(up: Up) -> None:
    before = up.pids
    killed = ("node-2", "log-writer", "projections", "runner", "postgres", "kafka-1")
    for name in killed:
        os.kill(before[name], signal.SIGKILL)
    await until(lambda: all(f"{name} runs again" in up.told for name in killed), timeout=60, what="all of them back")
    await until(lambda: answers(up), timeout=30, what="answers again")
    after = up.pids
    assert {name for name in before if before[name] != after[name]} == set(killed)
    assert all(runs(pid) for pid in after.values())
    for name in killed:
        assert f"{name} ended (killed by SIGKILL); starting it again" in up.told


async def test_stopped_and_started_again_it_continues_the_same_log(up: Up) -> None:
    before = up.instance
    async with AIOKafkaProducer(bootstrap_servers=before["kafka"], acks="all") as producer:
        sent = await producer.send_and_wait("events", b"{}", partition=3)
    sleeper = await start_sleeper(before["kafka"], "600.125")
    began = asyncio.get_running_loop().time()
    assert await up.signal(signal.SIGTERM) == 0
    assert asyncio.get_running_loop().time() - began < 10
    assert not any(runs(pid) for pid in before["processes"].values())
    assert not runs(sleeper), "the programs of its tasks end with it"
    assert "Traceback" not in up.told

    await up.start()
    after = up.instance
    assert {name: after[name] for name in ("epoch", "kafka", "database_url")} == {
        name: before[name] for name in ("epoch", "kafka", "database_url")
    }
    async with AIOKafkaConsumer(bootstrap_servers=after["kafka"]) as consumer:
        partition = TopicPartition("events", 3)
        assert (await consumer.end_offsets([partition]))[partition] > sent.offset
    assert "watch the welcome task" not in up.told


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next `up` stops what is left")
async def test_nothing_is_left_when_the_supervisor_is_killed(up: Up) -> None:
    if not runs(up.pids["supervisor"]):
        await up.start()
    pids = {**up.pids, "sleeper": await start_sleeper(up.instance["kafka"], "600.25")}
    assert await up.signal(signal.SIGKILL) == -signal.SIGKILL
    await until(lambda: not any(runs(pid) for pid in pids.values()), timeout=20, what="the end of all of them")


async def test_what_a_data_dir_lacks_or_has_of_a_newer_version_is_one_sentence(up: Up) -> None:
    if not runs(up.pids["supervisor"]):
        await up.start()
    connection = await asyncpg.connect(up.instance["database_url"])
    await connection.execute("UPDATE alembic_version SET version_num = '0099'")
    await connection.close()
    await up.signal(signal.SIGTERM)
    options = ("--data-dir", str(up.data_dir), "--port", str(up.port))
    assert "the database's schema is not of this version of Lastseen" in await refused(*options)

    password = up.data_dir / "postgres-password"
    kept = password.read_text()
    password.write_text("another\n")
    assert "does not take the password that is kept for it" in await refused(*options)
    password.unlink()
    assert f"{password} is missing" in await refused(*options)
    assert not password.exists(), "no new one hides that it is gone"
    password.write_text(kept)


async def refused(*options: str, **environment: str) -> str:
    """The one sentence with which `up` refuses to start."""
    status, output, errors = await lastseen("up", *options, **environment)
    assert status == 1
    assert output == ""
    *progress, sentence = errors.strip().splitlines()
    assert sentence.startswith("Error: ")
    assert "Traceback" not in errors, progress
    return sentence


async def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        said = await refused("--data-dir", str(tmp_path / "data"), "--port", str(port))
    assert f"Port {port} of 127.0.0.1 is taken" in said


async def test_a_data_dir_of_another_version_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lastseen.json").write_text('{"layout": 99}')
    assert "has layout 99, this Lastseen knows layout 1" in await refused("--data-dir", str(tmp_path))


async def test_a_setting_that_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    said = await refused("--data-dir", str(tmp_path / "data"), LASTSEEN_PARTITIONS="0")
    assert "LASTSEEN_PARTITIONS: Input should be greater than or equal to 1" in said


async def test_a_missing_network_is_one_sentence(tmp_path: Path, open_folder: Path) -> None:
    nobody = "http://127.0.0.1:9"
    said = await refused(
        *("--data-dir", str(open_folder / "no-network"), "--port", str(free_port())),
        LASTSEEN_CACHE_DIR=str(tmp_path / "cache"),
        M2_REPO=str(tmp_path / "empty"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nobody),
    )
    assert "could not be fetched" in said
    assert "is there a network?" in said


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/somewhere/file"),
        StartError("kafka-1 ended at its start: java.io.IOException: No space left on device (log: x)"),
        StartError("Postgres could not make its cluster: No space left on device (log: x)"),
    ],
)
def test_a_full_disk_is_one_sentence(error: OSError | StartError, tmp_path: Path) -> None:
    assert sentence(error, tmp_path) == (
        f"The disk that holds {tmp_path} is full: free some space or choose another --data-dir."
    )
