"""Processes of a running instance are killed and frozen: it goes on by itself, nothing is lost, nothing comes twice."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from lastseen.answers import Place
from lastseen.publisher import Publisher

from tests.driven import Driven, Shown, ended, events_in, output_in
from tests.ledger import check_ledger
from tests.output_program import expected
from tests.waiting import until

LINES, SECONDS = 30_000, 3.0
FROZEN_SECONDS = 2.0


@dataclass
class Acknowledged:
    """What producers have been told by 202 answers, over all tests."""

    places: list[Place] = field(default_factory=list)


@pytest.fixture(scope="module")
def acknowledged() -> Acknowledged:
    return Acknowledged()


@asynccontextmanager
async def publishing(driven: Driven, project: str, acknowledged: Acknowledged) -> AsyncIterator[list[Place]]:
    """Publishes event after event to the project while the block lasts; gives their places, complete at its end."""
    places: list[Place] = []
    token = await driven.token("--user", "producer", "--scope", "publish")

    async def publish(publisher: Publisher) -> None:
        pending: list[asyncio.Future[Place]] = []
        try:
            while True:
                event = {"type": "project_updated", "project_id": project, "data": {"number": len(pending)}}
                pending.append(await publisher.submit(event))
                await asyncio.sleep(0.005)
        finally:
            await publisher.flush()
            places.extend([await place for place in pending])

    async with asyncio.timeout(90), Publisher(driven.up.instance["url"], token) as publisher:
        producer = asyncio.create_task(publish(publisher))
        try:
            yield places
        finally:
            producer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await producer
    acknowledged.places += places


async def kill_node(driven: Driven) -> None:
    await driven.kill_and_see_it_back("node-1")


async def kill_log_writer(driven: Driven) -> None:
    for _ in range(3):
        await until(lambda: is_writing(driven), what="the log writer writing")
        await driven.kill_and_see_it_back("log-writer")


async def kill_kafka(driven: Driven) -> None:
    await driven.kill_and_see_it_back("kafka-1")


async def kill_postgres(driven: Driven) -> None:
    await driven.kill_and_see_it_back("postgres")


async def kill_everything(driven: Driven) -> None:
    before = driven.up.pids
    for name in before:
        if name != "supervisor":
            driven.kill(name)
    await until(
        lambda: all(driven.up.pids[name] != pid for name, pid in before.items() if name != "supervisor"),
        timeout=30,
        what="new processes",
    )


async def freeze_postgres(driven: Driven) -> None:
    with driven.frozen("postgres"):
        await asyncio.sleep(FROZEN_SECONDS)


async def freeze_kafka(driven: Driven) -> None:
    with driven.frozen("kafka-1"):
        await asyncio.sleep(FROZEN_SECONDS)


async def is_writing(driven: Driven) -> bool:
    """Whether the log writer has written between two looks."""
    connection = await asyncpg.connect(driven.up.instance["database_url"])
    try:
        query = "SELECT sum(next_offset) FROM projection_offset WHERE projection = 'log'"
        before = await connection.fetchval(query)
        await asyncio.sleep(0.03)
        return bool(await connection.fetchval(query) > before)
    finally:
        await connection.close()


FAULTS = [
    kill_node,
    kill_log_writer,
    kill_kafka,
    kill_postgres,
    kill_everything,
    freeze_postgres,
    freeze_kafka,
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_goes_on_by_itself(
    driven: Driven, tmp_path: Path, acknowledged: Acknowledged, fault: Callable[[Driven], Awaitable[None]]
) -> None:
    task = project = fault.__name__
    shown, goes_on = Shown(tmp_path / "shown"), tmp_path / "goes-on"
    tail = await driven.start_into(shown, "tail", "--json", f"project:{project}", "--after", "earliest")
    program = await driven.start_program(task, len(task), LINES, SECONDS, goes_on, project=project)
    async with publishing(driven, project, acknowledged) as places:
        await until(lambda: shown.size > 30_000, timeout=20, what="output, live")
        assert program.returncode is None, "the fault comes in the middle of the run"
        goes_on.touch()
        await fault(driven)
        assert await ended(program) == 0
    assert places
    await driven.until_well()

    wanted = {place.id for place in places}
    await until(lambda: has_all(shown, wanted), timeout=30, what="the tail having gone on to the end")
    assert tail.returncode is None
    tail.send_signal(signal.SIGINT)
    assert await ended(tail) == 130
    events = events_in(shown.content)
    offsets = [event["offset"] for event in events]
    assert offsets == sorted(set(offsets)), "in the order of the log, each once"
    assert len({event["id"] for event in events}) == len(events)
    assert {event["id"] for event in events if event["type"] == "project_updated"} == wanted
    written = expected(len(task), LINES)
    for stream, data in written.items():
        assert (output_in(events, stream) == data) is True, stream
    assert [event["type"] for event in events if event["type"].startswith("task_")][-1] == "task_completed"


def has_all(shown: Shown, wanted: set[str]) -> bool:
    """Whether the last events wanted, and the end of the task, are among the lines."""
    lines = shown.content
    if b'"task_completed"' not in lines or not lines.endswith(b"\n"):
        return False
    return wanted <= {event["id"] for event in events_in(lines)}


async def test_every_acknowledged_event_is_in_kafka_and_in_postgres_exactly_once(
    driven: Driven, acknowledged: Acknowledged
) -> None:
    assert acknowledged.places
    instance = driven.up.instance
    connection = await asyncpg.connect(instance["database_url"])
    try:

        async def counted() -> bool:
            """Whether the log writer has come to the end, told without it: by the last of each producer."""
            ids = [place.id for place in acknowledged.places]
            return bool(await connection.fetchval("SELECT count(*) FROM log WHERE id = ANY($1)", ids) >= len(ids))

        await until(counted, timeout=30, what="every acknowledged event in Postgres")
        ids = [place.id for place in acknowledged.places]
        rows = await connection.fetch("SELECT id, count(*) FROM log WHERE id = ANY($1) GROUP BY id", ids)
        assert {row["id"]: row["count"] for row in rows} == dict.fromkeys(ids, 1)
        # What others of this instance's tests have put there on purpose could not be read, and so has no id.
        assert await connection.fetchval("SELECT count(*) FROM quarantine WHERE id IS NOT NULL") == 0
    finally:
        await connection.close()
    ledger = await check_ledger(
        instance["kafka"],
        instance["topic"],
        instance["database_url"],
        acknowledged=[(place.partition, place.offset) for place in acknowledged.places],
    )
    print(f"{len(acknowledged.places)} acknowledged by 202; {ledger}")
    assert ledger.rows == ledger.records - ledger.void - ledger.quarantined
    assert ledger.lost == 0
