"""Presence, stats and messages to users and channels, over three nodes on real servers."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.nodes import ADMIN, PRODUCER, Ground, Message, NodeProcess, new_ground, output, token
from tests.waiting import until

LEASE = 3.0
GRACE = 1.0
SHORT = {"presence_lease_seconds": LEASE, "presence_grace_seconds": GRACE, "trust_project_claims": True}

API = "/api/v1/websocket"


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def nodes(ground: Ground) -> AsyncIterator[list[NodeProcess]]:
    """Three nodes; nothing may make one of them log a traceback."""
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(ground.node(f"node-{n}", **SHORT)) for n in (1, 2, 3)]
        nodes = await asyncio.gather(*starting)
        yield nodes
        for node in nodes:
            assert "Traceback" not in node.said


async def call(
    node: NodeProcess, method: str, path: str, body: object = None, access: str | None = ADMIN, **query: str
) -> httpx.Response:
    headers = {} if access is None else {"Authorization": f"Bearer {access}"}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return await http.request(method, f"{node.url}{API}{path}", json=body, headers=headers, params=query)


async def stats(node: NodeProcess, access: str = ADMIN, **query: str) -> Message:
    response = await call(node, "GET", "/stats", access=access, **query)
    assert response.status_code == 200, response.text
    answer: Message = response.json()
    return answer


async def send(node: NodeProcess, path: str, body: object, access: str = PRODUCER) -> Message:
    response = await call(node, "POST", path, body, access)
    assert response.status_code == 202, response.text
    answer: Message = response.json()
    return answer


def told(messages: list[Message], user: str) -> list[str]:
    return [
        one["type"] for one in messages if one["type"] in ("user_online", "user_offline") and one["user_id"] == user
    ]


async def test_coming_and_going_is_told_once_to_the_project(nodes: list[NodeProcess]) -> None:
    bob = token("bob", projects=["shop"])
    async with nodes[0].client(token("ann", projects=["shop"]), project_id="shop") as watcher:
        await watcher.hear("connection_established")
        async with nodes[1].client(bob, project_id="shop"):
            online = await watcher.hear("user_online", user_id="bob")
            assert online["channels"] == ["project:shop", "user:bob"]
            async with nodes[2].client(bob) as other:
                await other.hear("connection_established")
        # Back on another node within the grace.
        async with nodes[0].client(bob, project_id="shop") as back:
            await back.hear("connection_established")
            await asyncio.wait_for(_until_offline_is_due(nodes[0]), 60)
        offline = await watcher.hear("user_offline", user_id="bob")
        assert offline["channels"] == ["project:shop", "user:bob"]
        assert told(watcher.heard, "bob") == ["user_online", "user_offline"]


async def _until_offline_is_due(node: NodeProcess) -> None:
    """Wait until the node would have told of a user who left before this one came and left."""
    marker = token("marker", projects=["mark"])
    async with node.client(token("w", projects=["mark"]), project_id="mark") as watcher:
        await watcher.hear("connection_established")
        async with node.client(marker, project_id="mark"):
            # Who comes and goes before that was written is told of neither way.
            await watcher.hear("user_online", user_id="marker")
        await watcher.hear("user_offline", user_id="marker")


async def test_a_query_names_who_is_subscribed_on_whatever_node(nodes: list[NodeProcess]) -> None:
    async with AsyncExitStack() as stack:
        clients = []
        for node, user in zip(nodes, ("kim", "lee", "kim"), strict=True):
            client = await stack.enter_async_context(node.client(token(user, projects=["quiz"]), project_id="quiz"))
            await client.hear("connection_established")
            clients.append(client)
        await clients[0].send({"type": "presence", "channel": "project:quiz", "ref": 1})
        assert (await clients[0].hear("presence_result", ref=1))["users"] == ["kim", "lee"]
        await clients[1].send({"type": "unsubscribe", "channel": "project:quiz"})
        await clients[1].hear("unsubscription_result")
        await clients[2].send({"type": "presence", "channel": "project:quiz"})
        assert (await clients[2].hear("presence_result"))["users"] == ["kim"]
        await clients[0].send({"type": "presence", "channel": "project:other"})
        assert (await clients[0].hear("error"))["code"] == "access_denied"


async def test_stats_count_over_all_nodes(nodes: list[NodeProcess]) -> None:
    async def is_empty() -> bool:
        return bool((await stats(nodes[0]))["total_connections"] == 0)

    await until(is_empty, what="the clients of other tests being gone")
    async with AsyncExitStack() as stack:
        for node, user in zip((*nodes, nodes[0]), ("kim", "lee", "kim", "kim"), strict=True):
            client = await stack.enter_async_context(node.client(token(user, projects=["quiz"]), project_id="quiz"))
            await client.hear("connection_established")
        for node in nodes:
            answer = await stats(node)
            assert (answer["total_connections"], answer["online_users"], answer["active_channels"]) == (4, 2, 4)
            assert [(one["node"], one["connections"], one["users"], one["channels"]) for one in answer["nodes"]] == [
                ("node-1", 2, 1, 3),
                ("node-2", 1, 1, 3),
                ("node-3", 1, 1, 3),
            ]
            assert all(one["answering"] for one in answer["nodes"])
        kim = await stats(nodes[1], token("kim"), user="kim")
        assert (kim["user"], kim["total_connections"], kim["online_users"], kim["active_channels"]) == ("kim", 3, 1, 3)
        quiz = await stats(nodes[2], PRODUCER, channel="project:quiz")
        assert (quiz["total_connections"], quiz["online_users"], quiz["active_channels"]) == (4, 2, 1)
        nobody = await stats(nodes[2], user="nobody")
        assert (nobody["total_connections"], nobody["online_users"]) == (0, 0)


@pytest.mark.parametrize(
    ("access", "query", "status", "code"),
    [
        (None, {}, 401, "unauthorized"),
        (token("kim"), {}, 403, "forbidden"),
        (token("kim"), {"user": "lee"}, 403, "forbidden"),
        (ADMIN, {"channel": "weather:x"}, 422, "invalid_request"),
        (ADMIN, {"user": "a,b"}, 422, "invalid_request"),
        (ADMIN, {"colour": "red"}, 422, "invalid_request"),
    ],
)
async def test_stats_that_are_refused(
    nodes: list[NodeProcess], access: str | None, query: dict[str, str], status: int, code: str
) -> None:
    response = await call(nodes[0], "GET", "/stats", access=access, **query)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


async def test_info_is_for_everyone(nodes: list[NodeProcess]) -> None:
    response = await call(nodes[1], "GET", "/info", access=None)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["endpoint"], answer["protocols"], answer["node"]) == ("/ws", ["lastseen.v1"], "node-2")
    assert answer["max_connections"] > 0


async def test_a_message_to_a_user_reaches_all_but_the_connection_that_is_left_out(nodes: list[NodeProcess]) -> None:
    access = token("mia")
    message = {"type": "user_notification", "data": {"number": 1}}
    async with nodes[1].client(access) as left_out, nodes[2].client(access) as other:
        id_ = (await left_out.hear("connection_established"))["connection_id"]
        await other.hear("connection_established")
        body = {"user_id": "mia", "message": message, "exclude_connection_id": id_}
        answer = await send(nodes[0], "/send-to-user", body)
        assert (answer["connections"], answer["online"], answer["unanswered"]) == (1, True, [])
        event = await other.hear("user_notification")
        assert (event["id"], event["partition"], event["offset"]) == (
            answer["id"],
            answer["partition"],
            answer["offset"],
        )
        assert (event["target_user_id"], event["sender_id"]) == ("mia", "producer")
        second = await send(nodes[0], "/send-to-user", {"user_id": "mia", "message": {**message, "data": {}}})
        assert second["connections"] == 2
        assert (await left_out.hear("user_notification"))["id"] == second["id"], "the first did not come"
    # Exclusion is of live delivery: a replay has both.
    async with nodes[1].client(access, after="earliest") as client:
        assert (await client.hear("user_notification"))["id"] == answer["id"]


async def test_a_message_to_a_user_who_is_away_waits_for_him(nodes: list[NodeProcess]) -> None:
    answer = await send(nodes[0], "/send-to-user", {"user_id": "zoe", "message": {"type": "hint", "id": "hint-1"}})
    assert (answer["connections"], answer["online"], answer["duplicate"]) == (0, False, False)
    again = await send(nodes[0], "/send-to-user", {"user_id": "zoe", "message": {"type": "hint", "id": "hint-1"}})
    assert (again["duplicate"], again["offset"]) == (True, answer["offset"])
    async with nodes[2].client(token("zoe"), after="earliest") as client:
        assert (await client.hear("hint"))["offset"] == answer["offset"]


async def test_a_message_to_a_channel_goes_where_an_event_goes(nodes: list[NodeProcess]) -> None:
    await nodes[0].publish({"type": "task_started", "task_id": "sent", "project_id": "quiz"})
    async with nodes[1].client(ADMIN, project_id="quiz") as watcher, nodes[2].client(token("eve")) as everyone:
        await watcher.hear("connection_established")
        await everyone.hear("connection_established")
        await watcher.subscribe("task:sent")
        message: dict[str, Any] = output("sent", 1)
        answer = await send(nodes[0], "/send-to-channel", {"channel": "task:sent", "message": message})
        assert answer["connections"] == 1
        event = await watcher.hear("task_output")
        assert (event["project_id"], event["offset"]) == ("quiz", answer["offset"]), "in the project of its start"
        body = {"channel": "broadcast", "message": {"type": "system_maintenance_start", "data": {}}}
        answer = await send(nodes[0], "/send-to-channel", body)
        assert answer["connections"] == 2
        assert (await everyone.hear("system_maintenance_start"))["priority"] == 8
        assert (await watcher.hear("system_maintenance_start"))["id"] == answer["id"]


@pytest.mark.parametrize(
    ("path", "body", "access", "status", "code", "field"),
    [
        ("/send-to-user", {"user_id": "a", "message": {"type": "hint"}}, token("a"), 403, "forbidden", None),
        ("/send-to-user", {"user_id": "a"}, ADMIN, 422, "invalid_request", "message"),
        ("/send-to-user", {"user_id": "a b", "message": {}}, ADMIN, 422, "invalid_request", "user_id"),
        ("/send-to-user", [], ADMIN, 422, "invalid_request", ""),
        (
            "/send-to-user",
            {"user_id": "a", "message": {"type": "task_output"}},
            ADMIN,
            422,
            "wrong_category",
            "message.type",
        ),
        ("/send-to-channel", {"channel": "x", "message": {"type": "hint"}}, ADMIN, 422, "invalid_channel", "channel"),
        (
            "/send-to-channel",
            {"channel": "project:p", "message": {"type": "project_member_added", "data": {"user_id": "a"}}},
            ADMIN,
            403,
            "forbidden",
            "message.type",
        ),
        (
            "/send-to-channel",
            {"channel": "task:sent", "message": {"type": "hint", "project_id": "other"}},
            ADMIN,
            409,
            "conflict",
            "project_id",
        ),
    ],
)
async def test_messages_that_are_refused(
    nodes: list[NodeProcess], path: str, body: object, access: str, status: int, code: str, field: str | None
) -> None:
    response = await call(nodes[0], "POST", path, body, access)
    answer = response.json()
    assert (response.status_code, answer["code"]) == (status, code), response.text
    assert [one["field"] for one in answer.get("errors", [])] == ([] if field is None else [field])


async def test_a_killed_node_is_forgotten_and_its_users_go_offline(nodes: list[NodeProcess]) -> None:
    access = token("una", projects=["una"])
    async with nodes[0].client(ADMIN, project_id="una") as watcher:
        await watcher.hear("connection_established")
        async with nodes[2].client(access, project_id="una"):
            await watcher.hear("user_online", user_id="una")
            await nodes[2].stop(signal.SIGKILL)

            async def is_forgotten() -> bool:
                counted = [await stats(node) for node in nodes[:2]]
                return all([one["node"] for one in answer["nodes"]] == ["node-1", "node-2"] for answer in counted)

            await until(is_forgotten, timeout=LEASE + 5, what="the killed node being forgotten")
            assert (await stats(nodes[1], user="una"))["total_connections"] == 0
            await watcher.hear("user_offline", user_id="una")
        assert told(watcher.heard, "una") == ["user_online", "user_offline"]
    await nodes[2].start()
    assert len((await stats(nodes[0]))["nodes"]) == 3
