"""One of the two servers stopped: what the other holds is served, publishers are told, live goes on or resumes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from service.embedded.stack import Stack
from tests.freezing import frozen
from tests.ledger import check_ledger
from tests.nodes import ADMIN, Ground, Message, NodeProcess, new_ground, numbers, output, started
from tests.waiting import until

TASK = "t"
COUNT = 300


@pytest.fixture
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


async def fill(node: NodeProcess) -> list[Message]:
    """A task whose output is long out of the window."""
    await node.publish(started(TASK, project_id="p", data={"number": -1}))
    places = []
    for first in range(0, COUNT, 100):
        places += await node.publish(*(output(TASK, n, project_id="p") for n in range(first, first + 100)))
    return places


@asynccontextmanager
async def without_database(ground: Ground, admin_url: str) -> AsyncIterator[None]:
    """Nobody gets to the database, as long as the block lasts."""
    name = urlsplit(ground.database_url).path[1:]
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()


async def until_copied(ground: Ground, place: Message) -> None:
    sql = await asyncpg.connect(ground.database_url)
    query = "SELECT next_offset > $2 FROM projection_offset WHERE projection = 'log' AND partition = $1"

    async def is_copied() -> bool:
        return bool(await sql.fetchval(query, place["partition"], place["offset"]))

    try:
        await until(is_copied, timeout=30, what="the last event being in Postgres")
    finally:
        await sql.close()


async def test_what_postgres_holds_is_served_and_live_resumes(ground: Ground, servers: Stack) -> None:
    async with (
        ground.log_writer(),
        ground.node(window_bytes=20_000, window_offsets=10, kafka_timeout_seconds=4) as node,
        node.client() as viewer,
    ):
        places = await fill(node)
        await until_copied(ground, places[-1])
        await viewer.subscribe(f"task:{TASK}")
        some = f"{ground.epoch}:{places[99]['partition']}={places[99]['offset']}"
        with frozen(servers.supervisor.pids["kafka-1"]):
            refused = await node.post(output(TASK, 1_000, project_id="p"), ADMIN)
            assert refused.status_code == 503, refused.text
            assert int(refused.headers["retry-after"]) >= 1
            for after, expected in (("earliest", range(-1, COUNT)), (some, range(100, COUNT))):
                async with node.client() as client:
                    result = await client.subscribe(f"task:{TASK}", after=after)
                    assert result["recovered"] is True
                    await client.hear("caught_up", channels=[f"task:{TASK}"])
                    assert numbers(client.events) == list(expected)
                    assert not [m for m in client.heard if m["type"] in ("gap", "error")]
            page = await node.history(f"task:{TASK}", before="latest", limit="50")
            assert numbers(page["events"]) == list(range(COUNT - 1, COUNT - 51, -1))
            page = await node.history(f"task:{TASK}", since="2020-01-01T00:00:00Z", limit="50")
            assert numbers(page["events"]) == list(range(-1, 49))
            async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {ADMIN}"}) as http:
                assert (await http.get(f"{node.url}/healthz")).status_code == 200

        async def taken() -> bool:
            return (await node.post({**output(TASK, 2_000, project_id="p"), "id": "back"}, ADMIN)).status_code == 202

        await until(taken, timeout=30, what="an event being taken again")
        async with asyncio.timeout(30):
            await viewer.hear("task_output", id="back")
        assert [e["id"] for e in viewer.events].count("back") == 1


async def test_what_only_kafka_holds_is_waited_for_and_is_no_gap(ground: Ground, servers: Stack) -> None:
    async with ground.node(window_bytes=20_000, window_offsets=10, kafka_timeout_seconds=4) as node:
        await fill(node)  # nobody copies it
        async with node.client() as client:
            await client.begin()
            with frozen(servers.supervisor.pids["kafka-1"]):
                await client.send({"type": "subscribe", "channel": f"task:{TASK}", "after": f"{ground.epoch}:"})
                error = await client.hear("error")
                assert (error["code"], error["channel"]) == ("unavailable", f"task:{TASK}")
                assert error["retry_after"] >= 1

            async def subscribed() -> bool:
                await client.send({"type": "subscribe", "channel": f"task:{TASK}", "after": "earliest", "ref": "again"})
                while True:
                    answer = await client.next()
                    if answer.get("ref") == "again":
                        return bool(answer["type"] == "subscription_result")

            await until(subscribed, timeout=30, what="the subscription being taken")
            await client.hear("caught_up", channels=[f"task:{TASK}"])
            assert numbers(client.events) == list(range(-1, COUNT))
            assert not [m for m in client.heard if m["type"] == "gap"]


async def test_without_postgres_live_goes_on_and_what_kafka_holds_is_replayed(
    ground: Ground, kafka: str, postgres_url: str
) -> None:
    async with (
        ground.log_writer(),
        ground.node(window_bytes=20_000, window_offsets=10) as node,
        node.client() as viewer,
    ):
        places = await fill(node)
        await until_copied(ground, places[99])
        await viewer.subscribe(f"task:{TASK}")
        async with without_database(ground, postgres_url):
            await node.publish(*(output(TASK, n, project_id="p") for n in range(COUNT, COUNT + 50)))
            await viewer.hear("task_output", partition=places[0]["partition"], data={"number": COUNT + 49})
            assert numbers(viewer.events) == list(range(COUNT, COUNT + 50))
            some = f"{ground.epoch}:{places[150]['partition']}={places[150]['offset']}"
            for after, expected in (("earliest", range(-1, COUNT + 50)), (some, range(151, COUNT + 50))):
                async with node.client() as client:
                    await client.subscribe(f"task:{TASK}", after=after)
                    await client.hear("caught_up", channels=[f"task:{TASK}"])
                    assert numbers(client.events) == list(expected)
                    assert not [m for m in client.heard if m["type"] == "gap"]
        (last,) = await node.publish(output(TASK, COUNT + 50, project_id="p"))
        await until_copied(ground, last)
        ledger = await check_ledger(kafka, ground.topic, ground.database_url)
        assert ledger.rows == ledger.records >= COUNT + 52, "exactly once, the start of the task and who came included"
