"""What came to a user while away, over the wire: in order, once for each client, on any node."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from lastseen.client import Client
from lastseen.notices import OfflineDelayed
from lastseen.positions import Position
from lastseen.stream import Item, Moved, Received, Stream

from tests.nodes import ADMIN, Ground, Message, NodeProcess, new_ground, numbers, output, token
from tests.waiting import until


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground, ground.log_writer():
        yield ground


@pytest.fixture(scope="module")
async def nodes(ground: Ground) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    """Two; the window of the second one holds next to nothing."""
    async with ground.node("one", heartbeat_seconds=1) as one, ground.node("two", window_bytes=2_000) as two:
        yield one, two
        assert "Traceback" not in one.said + two.said


def note(user: str, number: int) -> Message:
    return {"type": "user_notification", "user_id": user, "data": {"number": number}}


async def away(node: NodeProcess, user: str, name: str | None) -> list[int]:
    """What a client gets that comes without a position, up to the ping behind it, which it does not answer."""
    async with node.client(token(user)) if name is None else node.client(token(user), client_id=name) as client:
        await client.begin()
        return numbers(client.events)


async def comes(node: NodeProcess, user: str, name: str | None, expected: list[int]) -> None:
    """Wait until it gets just these: the node may still have to read what another one published. Looking moves none."""

    async def came() -> bool:
        return await away(node, user, name) == expected

    await until(came, what=f"{expected} for {name}")


async def cursors(node: NodeProcess, user: str, method: str = "GET", name: str = "") -> httpx.Response:
    path = f"/api/v1/cursors/{name}" if name else "/api/v1/cursors"
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.request(method, f"{node.url}{path}", headers={"Authorization": f"Bearer {token(user)}"})


async def test_it_comes_in_order_once_to_each_name_on_any_node(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    one, two = nodes
    floods = [
        output("t", -1, user_id="ann"),
        {"type": "task_progress_update", "task_id": "t", "user_id": "ann", "data": {"number": -2}},
    ]
    for number in range(3):
        await one.publish(note("ann", number), *floods, note("bob", 9))
    assert await away(one, "ann", "phone") == [0, 1, 2]
    await comes(two, "ann", "phone", [0, 1, 2])
    assert await away(two, "ann", "phone") == [0, 1, 2], "reading alone moves nothing"
    async with two.client(token("ann"), client_id="phone") as client:
        await client.begin()
        position = client.heard[-1]["position"]
        answer = await client.ask({"type": "ack", "position": position, "ref": 1})
        assert (answer["type"], answer["position"]) == ("ack_result", position)
    assert await away(one, "ann", "phone") == []
    assert await away(two, "ann", "tablet") == [0, 1, 2], "a device takes none from another"
    assert await away(one, "ann", None) == [0, 1, 2]
    await one.publish(*floods, note("ann", 3))
    await comes(two, "ann", "phone", [3])
    assert await away(one, "ann", "tablet") == [0, 1, 2, 3]


async def test_a_pong_moves_the_cursor_to_its_ping_and_a_ping_does_not(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    one, two = nodes
    await one.publish(note("cid", 0))
    async with one.client(token("cid"), client_id="phone") as client:
        await client.begin()
        pinged_at = client.heard[-1]["position"]
        await client.send({"type": "ping"})
        await client.hear("pong")
        assert (await cursors(one, "cid")).json() == {"cursors": []}
        await client.send({"type": "pong"})
        await client.quiet()
        (cursor,) = (await cursors(one, "cid")).json()["cursors"]
        assert (cursor["client_id"], cursor["position"]) == ("phone", pinged_at)
        await one.publish(note("cid", 1))
        await client.hear("user_notification")
    # What came behind the ping was not confirmed.
    await comes(two, "cid", "phone", [1])


async def test_cursors_are_seen_and_forgotten_by_their_owner_alone(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    one, two = nodes
    await one.publish(note("dan", 0))
    for name in ("phone", "tablet"):
        async with one.client(token("dan"), client_id=name) as client:
            await client.begin()
            await client.ask({"type": "ack", "position": client.heard[-1]["position"], "ref": 1})
    assert [c["client_id"] for c in (await cursors(two, "dan")).json()["cursors"]] == ["phone", "tablet"]
    assert (await cursors(two, "eve")).json() == {"cursors": []}
    assert (await cursors(two, "eve", "DELETE", "phone")).status_code == 404
    assert (await cursors(two, "dan", name="phone")).json()["client_id"] == "phone"
    assert await away(two, "dan", "phone") == []
    assert (await cursors(two, "dan", "DELETE", "phone")).status_code == 204
    assert (await cursors(one, "dan", name="phone")).json()["code"] == "not_found"
    assert (await cursors(one, "dan", name="a b")).status_code == 422
    assert await away(one, "dan", "phone") == [0], "all of the 7 days again"
    assert await away(one, "dan", "tablet") == []
    assert (await cursors(one, "dan", "DELETE")).status_code == 204
    assert (await cursors(two, "dan")).json() == {"cursors": []}


class Reader:
    """Reads a stream of the client library as a consumer does: an item is dealt with before the next is asked for."""

    def __init__(self, stream: Stream) -> None:
        self.items: list[Item] = []
        self._task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: Stream) -> None:
        async for item in stream.items():
            self.items.append(item)

    @property
    def numbers(self) -> list[int]:
        return [
            i.event["data"]["number"] for i in self.items if isinstance(i, Received) and "number" in i.event["data"]
        ]

    async def caught_up(self) -> None:
        await until(lambda: any(isinstance(i, Moved) and i.caught_up for i in self.items), what="all that came")

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_the_client_confirms_what_its_reader_has_taken_and_nothing_else(
    nodes: tuple[NodeProcess, NodeProcess],
) -> None:
    one, _ = nodes
    await one.publish(note("fay", 0), note("fay", 1))

    async def cursor() -> Any:
        return (await cursors(one, "fay", name="phone")).json().get("position")

    async with Client(one.url, token("fay"), client_id="phone") as client:
        # Nobody reads the channel: heartbeats pass, and no cursor is moved.
        broadcast = client.subscribe("broadcast")
        connected = asyncio.create_task(broadcast.wait())
        await until(lambda: client._session.user_channel and not client._session.owes_offline, what="a greeting")
        assert await client.presence("user:fay") == ["fay"]
        assert await cursor() is None
        # A reader that comes late gets it all the same, on a connection of its own.
        mine = client.subscribe("user:fay")
        reader = Reader(mine)
        await reader.caught_up()
        assert reader.numbers == [0, 1]
        confirmed = await until(cursor, what="the cursor moved by a heartbeat")
        await one.publish(note("fay", 2))
        await until(lambda: reader.numbers == [0, 1, 2], what="a live one")
        assert mine.position is not None
        position = Position.parse(mine.position)
        acknowledged = await client.ack()
        # A heartbeat may have moved it on meanwhile.
        assert all(Position.parse(acknowledged).offsets[p] >= offset for p, offset in position.offsets.items())
        assert await until(cursor, what="the cursor") != confirmed
        await reader.end()
        await mine.aclose()
        await one.publish(note("fay", 3))
        assert [
            event["data"].get("number") async for event in client.history("user:fay", types=["user_notification"])
        ] == [
            0,
            1,
            2,
            3,
        ]
        connected.cancel()
    assert await away(one, "fay", "phone") == [3]


@asynccontextmanager
async def postgres_away(ground: Ground, postgres_url: str) -> AsyncIterator[None]:
    """The database lets nobody in, as long as the block lasts."""
    name = urlsplit(ground.database_url).path.removeprefix("/")
    admin = await asyncpg.connect(postgres_url)
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()


async def test_without_postgres_live_goes_on_and_the_next_connection_has_it(
    nodes: tuple[NodeProcess, NodeProcess], ground: Ground, postgres_url: str
) -> None:
    one, _ = nodes
    await one.publish(note("gus", 0))
    async with Client(one.url, token("gus"), client_id="lib") as client:
        async with postgres_away(ground, postgres_url):
            async with one.client(token("gus"), client_id="raw") as raw:
                greeting = await raw.next()
                assert greeting["subscriptions"][0]["live"] is True
                error = await raw.next()
                assert (error["code"], error["channel"]) == ("history_unavailable", "user:gus")
                assert error["retry_after"] > 0
                await raw.hear("ping")
                await raw.send({"type": "pong"})
                await one.publish(note("gus", 1))
                await raw.hear("user_notification")
                assert numbers(raw.events) == [1]
            reader = Reader(client.subscribe("user:gus"))
            await until(lambda: any(isinstance(i, OfflineDelayed) for i in reader.items), what="the delay told")
            await one.publish(note("gus", 2))
            await until(lambda: reader.numbers == [2], what="live events")
        assert await away(one, "gus", "raw") == [0, 1, 2], "the pong moved nothing"
        await until(lambda: sorted(reader.numbers) == [0, 1, 2], timeout=20, what="the rest, without being asked for")
        assert reader.numbers == [2, 0, 1]
        await reader.end()
        await client.ack()
    assert await away(one, "gus", "lib") == []
    assert (await one.post([note("gus", 9)], ADMIN)).status_code == 202


async def test_a_token_is_replaced_on_the_open_connection(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    one, _ = nodes
    lifetimes = [3, 3600]
    interruptions: list[str] = []
    ends = time.time() + lifetimes[0]

    async def renewed() -> str:
        return token("hal", ttl=lifetimes.pop(0))

    async with Client(one.url, renewed, on_interruption=lambda reason, _: interruptions.append(reason)) as client:
        reader = Reader(client.subscribe("user:hal"))
        await until(lambda: not lifetimes, what="another token asked for")
        await until(lambda: time.time() > ends + 1.5, what="the end of the first token")
        await one.publish(note("hal", 1))
        await until(lambda: reader.numbers == [1], what="events after the end of the first token")
        await reader.end()
    assert interruptions == []


async def test_a_tail_of_the_own_channel_begins_now_and_takes_nothing(
    nodes: tuple[NodeProcess, NodeProcess], tmp_path: Path
) -> None:
    one, _ = nodes
    await one.publish(note("ivy", 1))
    shown, told = tmp_path / "shown", tmp_path / "told"
    with shown.open("wb") as out, told.open("wb") as err:
        arguments = ("user:ivy", "--json", "--url", one.url, "--token", token("ivy"))
        tail = await one.start_cli("tail", *arguments, stdout=out.fileno(), stderr=err.fileno())
    await until(lambda: b"user_online" in shown.read_bytes(), what="the tail's own connection shown")
    await one.publish(note("ivy", 2))
    await until(lambda: b"user_notification" in shown.read_bytes(), what="the event shown")
    tail.send_signal(signal.SIGTERM)
    await tail.wait()
    lines = [json.loads(line) for line in shown.read_bytes().splitlines()]
    assert [event["data"]["number"] for event in lines if event["type"] == "user_notification"] == [2]
    assert (await cursors(one, "ivy")).json() == {"cursors": []}
    assert await away(one, "ivy", None) == [1, 2]
