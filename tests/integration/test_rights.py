"""Rights on the wire: what the log gives and takes holds at once on every node, and on one without Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import httpx
import pytest
from lastseen.envelope import Event
from lastseen.record import encode
from websockets.exceptions import ConnectionClosed

from service.adapters.kafka.log import open_log
from tests.gate import Gate, gate_to
from tests.integration.conftest import until_written
from tests.nodes import ADMIN, PRODUCER, Ground, Message, NodeProcess, WireClient, new_ground, output, started, token

DENIED = (1008, "Project access denied")


@dataclass(frozen=True)
class Site:
    """Two nodes that judge by the log alone, the second behind a gate to Postgres; and one that believes claims."""

    ground: Ground
    one: NodeProcess
    two: NodeProcess
    believing: NodeProcess
    postgres: Gate

    @property
    def nodes(self) -> tuple[NodeProcess, NodeProcess]:
        return self.one, self.two


@pytest.fixture(scope="module")
async def site(kafka: str, postgres_url: str) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(new_ground(kafka, postgres_url))
        await stack.enter_async_context(ground.log_writer())
        await stack.enter_async_context(ground.projections())
        gate, address = await stack.enter_async_context(gate_to(ground.database_url))
        starting = (
            ground.node("n1", trust_project_claims=False),
            # What it knows when it starts it has from the projection alone.
            ground.node("n2", trust_project_claims=False, database_url=address, window_offsets=0),
            ground.node("n3", trust_project_claims=True),
        )
        one, two, believing = await asyncio.gather(*(stack.enter_async_context(node) for node in starting))
        yield Site(ground, one, two, believing, gate)
        for node in (one, two, believing):
            assert "Traceback" not in node.said


def added(project: str, user: str, role: str = "member") -> Message:
    return {"type": "project_member_added", "project_id": project, "data": {"user_id": user, "role": role}}


def removed(project: str, user: str) -> Message:
    return {"type": "project_member_removed", "project_id": project, "data": {"user_id": user}}


async def begin(site: Site, project: str, *members: str) -> None:
    """A project with its task, `task-of-PROJECT`, whose user is nobody of the tests."""
    await site.one.publish(
        {"type": "project_created", "project_id": project, "user_id": f"owner-of-{project}"},
        started(f"task-of-{project}", project_id=project, user_id="builder"),
        *(added(project, member) for member in members),
    )


async def may_read(node: NodeProcess, access: str, channel: str) -> bool:
    """Whether a subscription is granted; no other answer is one."""
    async with node.client(access) as client:
        await client.hear("connection_established")
        await client.send({"type": "subscribe", "channel": channel, "ref": "may"})
        while (answer := await client.next()).get("ref") != "may":
            pass
    assert answer["type"] == "subscription_result" or answer["code"] == "access_denied", answer
    return bool(answer["type"] == "subscription_result")


async def come_with(node: NodeProcess, access: str, project: str) -> tuple[int | None, str | None] | None:
    """Connect with a project: the close with which one is sent away, None for who is let in."""
    async with node.client(access, project_id=project) as client:
        try:
            assert (await client.next())["type"] == "connection_established"
        except ConnectionClosed:
            return client.socket.close_code, client.socket.close_reason
    return None


async def test_who_is_added_gets_in_at_once_on_the_other_node(site: Site) -> None:
    await begin(site, "opening")
    for number in range(50):
        here, there = site.nodes if number % 2 else (site.two, site.one)
        access = token(f"new-{number}")
        await here.publish(added("opening", f"new-{number}", ["viewer", "member", "owner"][number % 3]))
        async with there.client(access, project_id="opening") as client:
            hello = await client.next()
            assert hello["type"] == "connection_established", hello
            answer = await client.subscribe("task:task-of-opening")
            assert answer["subscribed"]
            assert not [one for one in client.heard if one["type"] == "error"]


async def test_a_viewer_reads_and_does_not_command(site: Site) -> None:
    await begin(site, "seen")
    await site.one.publish(added("seen", "viewer", "viewer"))
    for node in site.nodes:
        async with node.client(token("viewer"), project_id="seen") as client:
            await client.begin()
            await client.subscribe("task:task-of-seen", after="earliest")
            await client.hear("caught_up", channels=["task:task-of-seen"])
            for command in ("task_input", "task_cancel", "task_pause", "task_resume"):
                message = {"type": command, "task_id": "task-of-seen", "input": "x", "ref": command}
                await client.send(message)
                answer = await client.hear("error", ref=command)
                assert (answer["message"], answer["code"]) == ("Task access denied", "access_denied")


async def until_ended(client: WireClient, channels: set[str], reason: str) -> None:
    """Hear until these subscriptions have ended, for that reason."""
    while channels:
        notice = await client.hear("unsubscribed")
        assert notice["reason"] == reason
        channels.remove(notice["channel"])


async def test_a_removal_ends_everything_on_every_node(site: Site) -> None:
    """Automatic, live and catching up: nothing comes behind the notice, and the user's own channel says why."""
    await begin(site, "left", "ann", "bob")
    many = [output("task-of-left", number, project_id="left", data={"text": "x" * 90_000}) for number in range(200)]
    for first in range(0, len(many), 40):
        await site.one.publish(*many[first : first + 40])
    ended = {"project:left", "task:task-of-left"}
    ann = token("ann")
    async with AsyncExitStack() as stack:
        live = [await stack.enter_async_context(node.client(ann, project_id="left")) for node in site.nodes]
        slow = [await stack.enter_async_context(node.client(ann)) for node in site.nodes]
        staying = await stack.enter_async_context(site.two.client(token("bob"), project_id="left"))
        for client in live:
            await client.begin()
            await client.subscribe("task:task-of-left")
        for client in slow:
            # It does not read on: most of the replay is yet to come when the removal does.
            await client.begin()
            await client.subscribe("task:task-of-left", after="earliest")
        await staying.begin()
        await site.one.publish(output("task-of-left", 1000, project_id="left"))
        await site.two.publish(removed("left", "ann"), output("task-of-left", 1001, project_id="left"))
        for client in live:
            await until_ended(client, set(ended), "rights")
            told = await client.hear("project_member_removed")
            assert told["channels"] == ["project:left", "user:ann"]
            await client.quiet()
            assert [one["data"]["number"] for one in client.events if one["type"] == "task_output"] == [1000]
        for client in slow:
            await until_ended(client, {"task:task-of-left"}, "rights")
            await client.quiet()
            replayed = [one for one in client.events if one["type"] == "task_output"]
            assert len(replayed) < len(many), "it was still catching up"
            assert all(one["replay"] == ["task:task-of-left"] for one in replayed)
            assert ["task:task-of-left"] not in [
                one.get("channels") for one in client.heard if one["type"] == "caught_up"
            ]
            ending = next(at for at, one in enumerate(client.heard) if one["type"] == "unsubscribed")
            assert not [one for one in client.heard[ending:] if one["type"] == "task_output"]
        assert (await staying.hear("task_output", data={"number": 1001}))["project_id"] == "left"
        for node in site.nodes:
            assert await come_with(node, ann, "left") == DENIED
            assert not await may_read(node, ann, "project:left")
            assert not await may_read(node, ann, "task:task-of-left")
            assert await come_with(node, token("bob"), "left") is None


async def test_a_project_that_is_deleted(site: Site) -> None:
    await begin(site, "gone", "ann")
    ann = token("ann")
    async with site.one.client(ann, project_id="gone") as here, site.two.client(ann, project_id="gone") as there:
        for client in (here, there):
            await client.begin()
            await client.subscribe("task:task-of-gone")
        await site.one.publish({"type": "project_deleted", "project_id": "gone"}, output("task-of-gone", 1))
        for client in (here, there):
            await client.hear("project_deleted")
            await until_ended(client, {"project:gone", "task:task-of-gone"}, "project_deleted")
            await client.quiet()
            assert not [one for one in client.events if one["type"] == "task_output"]
    for node in site.nodes:
        assert await come_with(node, ann, "gone") == DENIED
        assert await come_with(node, token("owner-of-gone"), "gone") == DENIED
        assert not await may_read(node, token("builder"), "task:task-of-gone"), "the task's user neither"


async def test_a_task_is_not_taken_over(site: Site) -> None:
    await begin(site, "kept", "ann")
    await begin(site, "thief", "eve")
    eve, theft = token("eve"), started("task-of-kept", project_id="thief", user_id="eve")
    for node in site.nodes:
        for taking in (theft, started("task-of-kept", project_id="kept", user_id="eve")):
            answer = await node.post(taking)
            assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), answer.text
    # Straight to Kafka nobody judges it: each reader does.
    async with open_log(site.ground.kafka, site.ground.topic) as log:
        await log.append([encode(Event.model_validate(theft))])
    for node in site.nodes:
        assert not await may_read(node, eve, "task:task-of-kept")
        assert await may_read(node, token("ann"), "task:task-of-kept")
        async with node.client(eve) as client:
            await client.begin()
            assert (await client.ask({"type": "task_cancel", "task_id": "task-of-kept"}))["code"] == "access_denied"


async def test_publish_alone_makes_nobody_a_member(site: Site) -> None:
    changing = (
        {"type": "project_created", "project_id": "mine", "user_id": "producer"},
        added("seized", "producer", "owner"),
        removed("seized", "ann"),
        {"type": "project_deleted", "project_id": "seized"},
    )
    headers = {"Authorization": f"Bearer {PRODUCER}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        for event in changing:
            answer = await site.one.post(event)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
            for path, body in (
                ("send-to-user", {"user_id": "producer"}),
                ("send-to-channel", {"channel": "project:seized"}),
            ):
                answer = await http.post(f"{site.one.url}/api/v1/websocket/{path}", json={**body, "message": event})
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
    for project in ("mine", "seized"):
        assert not await may_read(site.two, PRODUCER, f"project:{project}")
    assert (
        await site.one.post(added("seized", "x"), token("p", scopes=["publish", "publish:rights"]))
    ).status_code == 202


async def test_claims_count_where_a_setting_says_so_and_a_removal_beats_them(site: Site) -> None:
    await begin(site, "claimed")
    cem = token("cem", projects=["claimed"])
    assert not await may_read(site.one, cem, "project:claimed")
    assert await come_with(site.two, cem, "claimed") == DENIED
    async with site.believing.client(cem, project_id="claimed") as client:
        await client.begin()
        await client.subscribe("task:task-of-claimed")
        await site.one.publish(removed("claimed", "cem"))
        await until_ended(client, {"project:claimed", "task:task-of-claimed"}, "rights")
    assert await come_with(site.believing, cem, "claimed") == DENIED
    assert not await may_read(site.believing, cem, "task:task-of-claimed")
    await site.one.publish(added("claimed", "cem", "viewer"))
    assert await come_with(site.believing, cem, "claimed") is None
    assert await may_read(site.one, cem, "project:claimed")


async def test_a_node_judges_on_while_postgres_is_away(site: Site) -> None:
    await begin(site, "alone", "ann")
    ann, dan = token("ann"), token("dan")
    async with site.two.client(ann, project_id="alone") as client:
        await client.begin()
        await site.postgres.shut()
        try:
            await site.one.publish(added("alone", "dan"), removed("alone", "ann"))
            await until_ended(client, {"project:alone"}, "rights")
            async with site.two.client(dan) as other:
                await other.hear("error", code="history_unavailable", channel="user:dan")
            assert await come_with(site.two, dan, "alone") is None
            assert await come_with(site.two, ann, "alone") == DENIED
            assert await may_read(site.two, dan, "task:task-of-alone")
            assert not await may_read(site.two, ann, "task:task-of-alone")
            await site.two.publish(started("begun-alone", project_id="alone"))
            assert await may_read(site.two, dan, "task:begun-alone")
        finally:
            await site.postgres.open()


async def test_a_node_that_starts_knows_the_projection(site: Site) -> None:
    await begin(site, "loaded", "ann", "bob")
    await site.one.publish(removed("loaded", "bob"), {"type": "task_completed", "task_id": "task-of-loaded"})
    connection = await asyncpg.connect(site.ground.database_url)
    try:
        async with open_log(site.ground.kafka, site.ground.topic) as log:
            await until_written(log, connection, projection="rights")
    finally:
        await connection.close()
    await site.two.stop()
    await site.two.start()
    assert await come_with(site.two, token("ann"), "loaded") is None
    assert await may_read(site.two, token("ann"), "task:task-of-loaded")
    assert await come_with(site.two, token("bob", projects=["loaded"]), "loaded") == DENIED
    assert not await may_read(site.two, token("bob"), "task:task-of-loaded")
    assert not await may_read(site.two, token("ann"), "project:gone"), "and what was deleted stays so"
    async with site.two.client(ADMIN) as client:
        await client.begin()
        answer = await client.subscribe("task:task-of-loaded", after="earliest")
        assert answer["recovered"]
        assert (await client.hear("caught_up", channels=["task:task-of-loaded"]))["closed"]
