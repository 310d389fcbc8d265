"""Clients that come back to a real node, late, ahead or slow, out of window, Postgres and Kafka: each event once."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.freezing import freeze, thaw
from tests.nodes import Ground, Message, NodeProcess, WireClient, new_ground, numbers, output, started
from tests.waiting import until


@pytest.fixture(scope="module")
async def shared(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    """For tests that drop nothing; each has tasks of its own."""
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def node(shared: Ground) -> AsyncIterator[NodeProcess]:
    """A node with everything in its window."""
    async with shared.node() as node:
        yield node
        assert "Traceback" not in node.said


@pytest.fixture
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


async def fill(node: NodeProcess, task: str, count: int = 200) -> list[Message]:
    """Publishes a task of a project of its name, between events of other tasks; gives the places of its output."""
    await node.publish(started(task, project_id=task, data={"number": -1}))
    places = []
    for first in range(0, count, 100):
        answers = await node.publish(
            *[
                output(name, number, project_id=project)
                for number in range(first, first + 100)
                for name, project in ((task, task), (f"{task}-other", "other"), (f"{task}-sibling", task))
            ]
        )
        places += answers[::3]
    return places


def position(ground: Ground, place: Message) -> str:
    """The token of that place; of other partitions, everything."""
    return f"{ground.epoch}:{place['partition']}={place['offset']}"


async def replayed(client: WireClient, channel: str, after: str) -> list[int]:
    """Subscribe from there; the numbers of what comes up to `caught_up`."""
    before = len(client.events)
    result = await client.subscribe(channel, after=after)
    assert result["recovered"] is True
    await client.hear("caught_up", channels=[channel])
    events = client.events[before:]
    assert all(event["replay"] == [channel] for event in events)
    return numbers(events)


async def check_catch_up(ground: Ground, node: NodeProcess, task: str, places: list[Message]) -> None:
    """From the start, from the middle, from the end, and of two channels at once: each event once, in order."""
    count = len(places)
    async with node.client() as client:
        await client.begin()
        assert await replayed(client, f"task:{task}", "earliest") == [-1, *range(count)]
        middle = position(ground, places[count // 2])
        assert await replayed(client, f"task:{task}", middle) == list(range(count // 2 + 1, count))
        assert await replayed(client, f"task:{task}", position(ground, places[-1])) == []
        before = len(client.events)
        channels = [f"project:{task}", f"task:{task}"]
        await client.send({"type": "subscribe", "channels": channels, "after": "earliest"})
        assert sorted((await client.hear("caught_up"))["channels"]) == channels
        both = client.events[before:]
        assert len(both) == 2 * count + 1, "an event of both channels comes once"
        offsets = [event["offset"] for event in both]
        assert offsets == sorted(set(offsets))
        await node.publish(output(task, count, project_id=task))
        live = await client.hear("task_output")
        assert (live["data"]["number"], "replay" in live) == (count, False)


async def test_out_of_the_window(shared: Ground, node: NodeProcess) -> None:
    await check_catch_up(shared, node, "windowed", await fill(node, "windowed"))


@pytest.mark.parametrize("window", [0, 30_000])
async def test_out_of_kafka_while_no_log_writer_runs(shared: Ground, window: int) -> None:
    async with shared.node(window_bytes=window) as node:
        task = f"kafka-{window}"
        await check_catch_up(shared, node, task, await fill(node, task))


async def test_out_of_postgres_and_kafka_no_longer_needed(ground: Ground) -> None:
    async with ground.node(window_offsets=0, window_bytes=20_000) as node, ground.log_writer():
        places = await fill(node, "t")
        await until_written(ground)
        await drop_from_kafka(ground, places[-1]["partition"], places[-1]["offset"] + 1)
        await check_catch_up(ground, node, "t", places)


async def test_a_node_that_starts_late_serves_what_was_before_it(shared: Ground, node: NodeProcess) -> None:
    places = await fill(node, "before", 100)
    async with shared.node(window_offsets=0) as late:
        await check_catch_up(shared, late, "before", places)


async def test_what_kafka_dropped_and_nobody_copied_is_a_gap(ground: Ground) -> None:
    async with ground.node(window_bytes=0) as node:
        places = await fill(node, "t", 200)
        kept = places[120]
        await drop_from_kafka(ground, kept["partition"], kept["offset"])
        async with node.client() as client:
            await client.begin()
            for after in (f"{ground.epoch}:{kept['partition']}=3", f"{ground.epoch}:{kept['partition']}=-1"):
                before = len(client.events)
                result = await client.subscribe("task:t", after=after)
                assert result["recovered"] is False
                gap = await client.next()
                assert (gap["type"], gap["reason"], gap["channels"]) == ("gap", "retention", ["task:t"])
                assert f"{kept['partition']}={kept['offset'] - 1}" in gap["earliest"]
                assert gap["requested"] == result["position"]
                await client.hear("caught_up")
                assert numbers(client.events[before:]) == list(range(120, 200))
            assert await replayed(client, "task:t", "earliest") == list(range(120, 200)), "all that is held: no gap"


async def test_a_position_of_another_epoch_is_a_gap(shared: Ground, node: NodeProcess) -> None:
    await fill(node, "epoch", 100)
    for token in ("zzzzzz:0=5,1=5", f"{shared.epoch}:0=999999", f"{shared.epoch}:2=9223372036854775807"):
        async with node.client(after=token) as client:
            assert (await client.begin())["recovered"] is False
            gap = await client.next()
            assert (gap["type"], gap["reason"]) == ("gap", "epoch")
            assert gap["earliest"].startswith(f"{shared.epoch}:")
            await client.hear("caught_up")
            assert (await client.subscribe("task:epoch", after=token))["recovered"] is False
            assert (await client.next())["reason"] == "epoch"
            await client.hear("caught_up", channels=["task:epoch"])
            assert numbers(client.events) == [-1, *range(100)]


async def test_a_position_ahead_of_a_lagging_node(shared: Ground, node: NodeProcess) -> None:
    async with shared.node("lagging") as lagging, lagging.client() as client:
        await client.subscribe("task:ahead")
        assert lagging.process is not None
        freeze(lagging.process.pid)
        places = await fill(node, "ahead", 100)
        await client.send({"type": "subscribe", "channel": "task:ahead", "after": position(shared, places[-1])})
        await node.publish(output("ahead", 100, project_id="ahead"))
        thaw(lagging.process.pid)
        result = await client.hear("subscription_result", channel="task:ahead", recovered=True)
        before = client.heard.index(result)
        await node.publish(output("ahead", 101, project_id="ahead"))
        await client.hear("task_output", data={"number": 101})
        since = client.heard[before:]
        assert numbers([message for message in since if "offset" in message]) == [100, 101], "none twice or left out"
        assert not [message for message in since if message["type"] == "gap"]


async def test_what_has_outlived_its_ttl_is_not_replayed(ground: Ground, node: NodeProcess) -> None:
    async with node.client() as client:
        await client.begin()
        places = await node.publish(output("ttl", 0), output("ttl", 1, ttl=1), output("ttl", 2, ttl=3600))
        # Once the node has read all of it, nothing of it comes live.
        await client.subscribe("task:ttl", after=position(ground, places[-1]))
        await client.hear("caught_up")

        async def outlived() -> bool:
            return await replayed(client, "task:ttl", "earliest") == [0, 2]

        await until(outlived, timeout=30, what="the second event having gone")


async def test_the_end_of_a_task_closes_its_channel(ground: Ground, node: NodeProcess) -> None:
    async with node.client() as client:
        end = {"type": "task_completed", "task_id": "over"}
        places = await node.publish(started("over"), output("over", 0), end, output("over", 1))
        # The first is served once the node has read the end.
        for after in (position(ground, places[-1]), "earliest"):
            client.heard.clear()
            await client.subscribe("task:over", after=after)
            assert (await client.hear("caught_up", channels=["task:over"]))["closed"] is True
        assert [event["type"] for event in client.events] == ["task_started", "task_output", "task_completed"]


async def test_a_node_whose_postgres_is_away_serves_from_kafka_and_says_what_it_can_t(
    ground: Ground, postgres_url: str
) -> None:
    async with ground.node(window_bytes=0) as node, ground.log_writer():
        places = await fill(node, "t", 100)
        await until_written(ground)
        admin = await asyncpg.connect(postgres_url)
        try:
            name = ground.database_url.rpartition("/")[2]
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
            async with node.client() as client:
                assert await replayed(client, "task:t", "earliest") == [-1, *range(100)]
                await drop_from_kafka(ground, places[0]["partition"], places[50]["offset"])
                answer = await client.ask({"type": "subscribe", "channel": "task:t", "after": "earliest", "ref": 1})
                assert (answer["code"], answer["channel"], answer["ref"]) == ("history_unavailable", "task:t", 1)
                assert answer["retry_after"] > 0
                await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

                async def back() -> bool:
                    await client.send({"type": "subscribe", "channel": "task:t", "after": "earliest"})
                    return bool((await client.next())["type"] == "subscription_result")

                before = len(client.events)
                await until(back, timeout=10, what="Postgres being asked again")
                await client.hear("caught_up", channels=["task:t"])
                assert numbers(client.events[before:]) == [-1, *range(100)]
        finally:
            await admin.close()
        assert "Traceback" not in node.said


async def until_written(ground: Ground) -> None:
    """Wait until the log writer has come to Kafka's end."""
    from service.adapters.kafka.log import open_log

    sql = await asyncpg.connect(ground.database_url)
    try:
        async with open_log(ground.kafka, ground.topic) as log:
            ends = {partition: held.next for partition, held in (await log.bounds()).items()}

        async def written() -> bool:
            rows = await sql.fetch("SELECT partition, next_offset FROM projection_offset WHERE projection = 'log'")
            return dict(map(tuple, rows)) == ends

        await until(written, timeout=20, what="the log writer having come to the end")
    finally:
        await sql.close()


async def drop_from_kafka(ground: Ground, partition: int, below: int) -> None:
    """What retention does: of the partition only what lies at or above an offset is kept."""
    admin = AIOKafkaAdminClient(bootstrap_servers=ground.kafka)
    await admin.start()
    try:
        async with asyncio.timeout(10):
            await admin.delete_records({TopicPartition(ground.topic, partition): RecordsToDelete(below)})
    finally:
        await admin.close()


async def test_from_a_time_and_from_the_last_events(node: NodeProcess) -> None:
    first = await node.publish(*[output("started-from", number) for number in range(10)])
    await node.publish(*[output("another", number) for number in range(3)])
    async with node.client() as client:
        await client.begin()
        await client.send({"type": "subscribe", "channels": ["task:started-from", "task:another"], "last": 2})
        await client.hear("subscription_result", channel="task:another")
        await client.hear("caught_up")
        assert sorted(numbers(client.events)) == [1, 2, 8, 9], "so many of each, in one catch-up"
    history = await node.history("task:started-from")
    appended = [event["appended_at"] for event in history["events"]]
    async with node.client() as client:
        await client.begin()
        await client.subscribe("task:started-from", since=appended[4])
        await client.hear("caught_up")
        assert numbers(client.events) == [n for n, at in enumerate(appended) if at >= appended[4]]
        await client.subscribe("task:started-from", since="2099-01-01T00:00:00Z")
        await client.hear("caught_up")
        assert len(first) == 10
