"""`GET /api/v1/events` of a real node: what the log holds, whoever holds it by now."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import asyncpg
import httpx
import pytest
from lastseen.positions import Position
from lastseen.record import NewRecord

from service.adapters.kafka.log import open_log
from tests.nodes import ADMIN, Ground, Message, NodeProcess, new_ground, numbers, output, token
from tests.raw import UNUSABLE_VALUE, unusable_headers
from tests.waiting import until

COUNT = 250
ANN = token("ann")


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def node(ground: Ground) -> AsyncIterator[NodeProcess]:
    """A node whose window holds next to nothing, and a log of some events that no log writer has copied."""
    async with ground.node(window_bytes=4_000) as node:
        events = []
        for number in range(COUNT):
            events += [output("t", number), {**output("other", number), "type": "task_progress_update"}]
        for begin in range(0, len(events), 100):
            await node.publish(*events[begin : begin + 100])
        yield node
        await http().aclose()
        assert "Traceback" not in node.said


@cache
def http() -> httpx.AsyncClient:
    """One client for all requests: making it takes longer than a page does."""
    return httpx.AsyncClient(trust_env=False, timeout=30)


async def get(node: NodeProcess, access: str | None = ADMIN, accept: str = "*/*", **query: Any) -> httpx.Response:
    headers = {"Accept": accept} | ({} if access is None else {"Authorization": f"Bearer {access}"})
    return await http().get(f"{node.url}/api/v1/events", params=query, headers=headers)


async def page(node: NodeProcess, access: str = ADMIN, **query: Any) -> Message:
    response = await get(node, access, **query)
    assert response.status_code == 200, response.text
    answer: Message = response.json()
    return answer


async def all_pages(node: NodeProcess, **query: Any) -> list[Message]:
    """Forward to the watermark."""
    events: list[Message] = []
    while True:
        answer = await page(node, **query)
        assert answer["order"] == "log"
        events += answer["events"]
        if answer["next"] == answer["watermark"]:
            return events
        query["after"] = answer["next"]


async def all_pages_back(node: NodeProcess, **query: Any) -> list[Message]:
    events: list[Message] = []
    query["before"] = "latest"
    while query["before"] is not None:
        answer = await page(node, **query)
        assert answer["order"] == "newest_first"
        events += answer["events"]
        query["before"] = answer["previous"]
    return events


async def lines(node: NodeProcess, **query: Any) -> list[Message]:
    response = await get(node, accept="application/x-ndjson", **query)
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def check_all(node: NodeProcess) -> None:
    """Every way to read gives everything."""
    expected = list(range(COUNT))
    channels = ["task:t", "task:other"]
    for limit in (37, 1_000):
        forward = await all_pages(node, channel=channels, limit=limit)
        back = await all_pages_back(node, channel=channels, limit=limit)
        for events in (forward, back[::-1]):
            for type_ in ("task_output", "task_progress_update"):
                assert numbers([event for event in events if event["type"] == type_]) == expected
        times = [event["appended_at"] for event in back]
        assert times == sorted(times, reverse=True)
    assert numbers(await all_pages(node, channel=channels, type="task_output", limit=100)) == expected
    assert (
        numbers(await all_pages_back(node, channel=channels, type="task_progress_update", limit=100)) == expected[::-1]
    )
    *events, last = await lines(node, channel="task:t")
    assert numbers(events) == expected
    assert last == {"watermark": (await page(node, channel="task:t", limit=1))["watermark"]}


async def test_everything_acknowledged_is_there_before_it_was_copied(node: NodeProcess) -> None:
    await check_all(node)
    # The newest event is in the answer to the very next question, on whichever side one begins.
    for number in range(5):
        (place,) = await node.publish(output("new", number))
        for begin in ({}, {"before": "latest"}):
            answer = await page(node, channel="task:new", limit=100, **begin)
            assert place["offset"] in [event["offset"] for event in answer["events"]]


async def test_pages_lose_nothing_while_all_moves(node: NodeProcess, ground: Ground) -> None:
    published = 300

    async def publish() -> None:
        for begin in range(0, published, 10):
            await node.publish(*(output("moving", number) for number in range(begin, begin + 10)))

    async def read() -> list[Message]:
        events: list[Message] = []
        query: dict[str, Any] = {}
        while not events or events[-1]["data"]["number"] != published - 1:
            answer = await page(node, channel=["task:moving", "task:t"], limit=7, type=["task_output"], **query)
            events += [event for event in answer["events"] if event["task_id"] == "moving"]
            query["after"] = answer["next"]
        return events

    async with ground.log_writer(), asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(publish())
        readers = [tasks.create_task(read()) for _ in range(2)]
    for reader in readers:
        assert numbers(reader.result()) == list(range(published))


async def test_everything_is_there_once_it_was_copied(node: NodeProcess, ground: Ground) -> None:
    async with ground.log_writer():
        connection = await asyncpg.connect(ground.database_url)

        async def copied() -> bool:
            count: int = await connection.fetchval("SELECT count(*) FROM log WHERE task IN ('t', 'other')")
            return count == 2 * COUNT

        await until(copied, timeout=30, what="the log writer having copied everything")
        await connection.close()
        await check_all(node)


async def test_times_and_positions_part_the_history(node: NodeProcess) -> None:
    events = (await page(node, channel="task:t", limit=1_000))["events"]
    middle = events[COUNT // 2]["appended_at"]
    before = await all_pages(node, channel="task:t", until=middle)
    since = await all_pages(node, channel="task:t", since=middle)
    assert [*before, *since] == events
    assert all(event["appended_at"] < middle for event in before)
    assert since[0]["appended_at"] >= middle
    ahead = (datetime.fromisoformat(events[-1]["appended_at"]) + timedelta(days=1)).isoformat()
    assert await all_pages(node, channel="task:t", since=ahead) == []
    answer = await page(node, channel="task:t", limit=10)
    older = await page(node, channel="task:t", before=answer["next"], limit=1_000)
    assert (older["events"][::-1], older["next"], older["previous"]) == (answer["events"], answer["next"], None)
    newer = await page(node, channel="task:t", after=older["next"], limit=1_000)
    assert [*answer["events"], *newer["events"]] == events


async def test_history_leads_on_to_live_events(node: NodeProcess) -> None:
    answer = await page(node, channel="task:live", before="latest")
    await node.publish(output("live", 1))
    async with node.client() as client:
        await client.subscribe("task:live", after=answer["watermark"])
        assert (await client.hear("task_output"))["data"] == {"number": 1}


async def test_a_position_of_another_log_is_a_gap(node: NodeProcess) -> None:
    answer = await page(node, channel="task:t", after="old:0=5", limit=5)
    assert next(iter(answer)) == "gap", "before the partial data"
    assert (answer["gap"]["requested"], answer["gap"]["reason"], len(answer["events"])) == ("old:0=5", "epoch", 5)
    first, *events = await lines(node, channel="task:t", after="old:0=5", limit=5)
    assert (first["gap"], len(events)) == (answer["gap"], 6)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "channel"),
        ({"channel": ["weather"]}, "channel.0"),
        ({"channel": ["task:t"] * 101}, "channel"),
        ({"channel": "task:t", "type": "Bad Name"}, "type.0"),
        ({"channel": "task:t", "after": "nonsense"}, "after"),
        ({"channel": "task:t", "after": "latest"}, "after"),
        ({"channel": "task:t", "before": "k:0=1,0=2"}, "before"),
        ({"channel": "task:t", "since": "yesterday"}, "since"),
        ({"channel": "task:t", "since": "1700000000"}, "since"),
        ({"channel": "task:t", "until": "2026-01-01T00:00:00"}, "until"),
        ({"channel": "task:t", "limit": 0}, "limit"),
        ({"channel": "task:t", "limit": 1001}, "limit"),
        ({"channel": "task:t", "sinse": "2026-01-01T00:00:00Z"}, "sinse"),
    ],
)
async def test_a_wrong_parameter_is_named(node: NodeProcess, query: dict[str, Any], field: str) -> None:
    response = await get(node, **query)
    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
    assert [error["field"] for error in response.json()["errors"]][:1] == [field]


async def test_each_channel_has_to_be_readable(node: NodeProcess) -> None:
    assert (await get(node, None, channel="task:t")).status_code == 401
    for accept in ("*/*", "application/x-ndjson"):
        response = await get(node, ANN, accept, channel=["user:ann", "project:secret"])
        assert response.status_code == 403
        assert "project:secret" in response.json()["detail"]
    await node.publish({"type": "user_action", "user_id": "ann", "data": {"number": 1}})
    assert numbers((await page(node, ANN, channel="user:ann", limit=3))["events"]) == [1]


async def test_a_reader_that_does_not_read_holds_up_nobody(node: NodeProcess) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}", "Accept": "application/x-ndjson"}
    request = http().build_request("GET", f"{node.url}/api/v1/events?channel=task:t", headers=headers)
    slow = await http().send(request, stream=True)
    assert numbers((await page(node, channel="task:t", limit=2))["events"]) == [0, 1]
    body = b"".join([chunk async for chunk in slow.aiter_raw()])
    assert json.loads(body.splitlines()[-1]).keys() == {"watermark"}
    # One that leaves midway is no error.
    left = await http().send(request, stream=True)
    await left.aclose()
    await asyncio.gather(*(page(node, channel="task:t", limit=5) for _ in range(5)))


async def test_a_record_that_cant_be_used_is_a_gap_to_everybody(node: NodeProcess, ground: Ground) -> None:
    """Live, out of the window, Kafka and Postgres: the gap lies where the record does, and what is around it comes."""
    async with node.client() as live:
        await live.begin()
        await live.subscribe("task:bad")
        start = (await live.subscribe("project:bad"))["position"]
        await node.publish(output("bad", 1, project_id="bad"))
        partition = (await live.hear("task_output"))["partition"]
        bad = NewRecord(b"bad", UNUSABLE_VALUE, unusable_headers(["task:bad", "project:bad"]))
        async with open_log(ground.kafka, ground.topic) as log:
            ((at, offset),) = await log.append([bad])
        assert at == partition
        await node.publish(output("bad", 2, project_id="bad"))
        told = await live.next()
        assert (told["type"], told["reason"], sorted(told["channels"])) == (
            *("gap", "quarantine"),
            ["project:bad", "task:bad"],
        )
        assert lies_at(told, partition, offset)
        assert (await live.next())["data"] == {"number": 2}
    # Out of the window first, then out of Kafka, then out of Postgres.
    await check_replay(node, start, partition, offset)
    for number in range(20):
        await node.publish(output("bulk", number, data={"number": number, "text": "x" * 1_000}, project_id="bad"))
    await check_replay(node, start, partition, offset)
    async with ground.log_writer():
        connection = await asyncpg.connect(ground.database_url)

        async def copied() -> bool:
            found = await connection.fetchval("SELECT channels FROM quarantine WHERE partition = $1", partition)
            return bool(found == "task:bad,project:bad")

        await until(copied, timeout=30, what="the record being in the quarantine")
        await connection.close()
        await check_replay(node, start, partition, offset)


def lies_at(gap: Message, partition: int, offset: int) -> bool:
    requested, earliest = (Position.parse(gap[name]).offsets for name in ("requested", "earliest"))
    return (requested[partition], earliest[partition]) == (offset - 1, offset)


async def check_replay(node: NodeProcess, start: str, partition: int, offset: int) -> None:
    async with node.client() as client:
        await client.begin()
        await client.subscribe("task:bad", after=start)
        assert (await client.next())["data"] == {"number": 1}
        told = await client.next()
        assert (told["type"], told["reason"], told["channels"]) == ("gap", "quarantine", ["task:bad"])
        assert lies_at(told, partition, offset)
        assert (await client.next())["data"] == {"number": 2}
    first, gap, second, _ = await lines(node, channel="task:bad", after=start)
    assert (numbers([first, second]), gap["gap"]["reason"]) == ([1, 2], "quarantine")
    assert lies_at(gap["gap"], partition, offset)
    pages = [await page(node, channel="task:bad", after=start)]
    pages.append(await page(node, channel="task:bad", after=pages[0]["next"]))
    assert [numbers(answer["events"]) for answer in pages] == [[1], [2]]
    assert ["gap" in answer for answer in pages] == [False, True]
    newest = await page(node, channel="task:bad", before="latest")
    older = await page(node, channel="task:bad", before=newest["previous"])
    assert (numbers(newest["events"]), numbers(older["events"])) == ([2], [1])
    assert older["gap"]["reason"] == "quarantine"
