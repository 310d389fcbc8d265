"""The vectors of the protocol against a real node, each of whose messages is as its `asyncapi.json` says."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.nodes import Message, NodeProcess, WireClient, new_ground, token
from tests.vectors import CONVERSATIONS, Schemas, load
from tests.waiting import until

ANN = token("ann", projects=["shop", "replayed"])


@pytest.fixture(scope="module")
async def node(kafka: str, postgres_url: str) -> AsyncIterator[NodeProcess]:
    async with new_ground(kafka, postgres_url) as ground, ground.node(heartbeat_seconds=1) as node:
        yield node
        assert "Traceback" not in node.said


@pytest.fixture(scope="module")
async def schemas(node: NodeProcess) -> Schemas:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        return Schemas((await http.get(f"{node.url}/asyncapi.json")).json())


def is_such(message: Message, answer: dict[str, Any]) -> bool:
    return all(name in message and message[name] == value for name, value in answer.items())


def may_go_by(message: Message) -> bool:
    return message["type"] in ("ping", "caught_up") or "offset" in message


async def converse(client: WireClient, vector: dict[str, Any], position: str) -> None:
    """Send the request, hear its answers and nothing else."""
    request = vector["request"].replace("${POSITION}", position).replace("${TOKEN}", ANN)
    await client.send(request.replace("${ANOTHERS_TOKEN}", token("bob")))
    for answer in vector["answers"]:
        message = await client.next()
        while may_go_by(message) and not is_such(message, answer):
            message = await client.next()
        assert is_such(message, answer), f"{vector['name']}: {message} instead of {answer}"
    before = len(client.heard)
    await client.quiet()
    late = [message for message in client.heard[before:-1] if not may_go_by(message)]
    assert late == [], f"{vector['name']}: more than was expected"


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_a_node_answers_as_the_vectors_say(node: NodeProcess, schemas: Schemas, name: str) -> None:
    conversation = load(name)
    if log := conversation.get("log"):
        places = await node.publish(*log)
        last = places[-1]["offset"]

        async def is_read() -> bool:
            page = await node.history(f"project:{log[-1]['project_id']}", before="latest", limit="1")
            return any(event["offset"] >= last for event in page["events"])

        # Acknowledged is not read yet: else what is expected of a replay may come live.
        await until(is_read, timeout=30, what="the node having read the log of the conversation")
    async with node.client(ANN, project_id="shop") as client:
        established = await client.hear("connection_established")
        for vector in conversation["vectors"]:
            await converse(client, vector, established["position"])
    for message in client.heard:
        schemas.check("server", message)


async def test_what_the_server_says_by_itself_is_described_too(node: NodeProcess, schemas: Schemas) -> None:
    seen: set[str] = set()
    async with node.client(ANN, project_id="shop", after="old:0=1") as client:
        await client.hear("connection_established")
        await client.hear("gap")
        await client.hear("caught_up")
        await node.publish(
            {"type": "project_updated", "project_id": "shop", "data": {"a": [None, "é"]}, "ttl": 60},
            {"type": "task_output", "task_id": "t", "project_id": "shop", "user_id": "ann"},
            {"type": "system_maintenance_start", "priority": 9},
            {"type": "user_notification", "user_id": "ann"},
        )
        for type_ in ("project_updated", "task_output", "system_maintenance_start", "user_notification"):
            await client.hear(type_) if type_ not in {m["type"] for m in client.heard} else None
        await client.hear("ping")
        await node.publish({"type": "project_member_removed", "project_id": "shop", "data": {"user_id": "ann"}})
        await client.hear("unsubscribed", channel="project:shop")
        seen |= {schemas.check("server", message) for message in client.heard}
    async with node.client(token("ann", ttl=50)) as client:
        await client.hear("token_expiring")
        seen |= {schemas.check("server", message) for message in client.heard}
    assert seen >= {"connection_established", "gap", "caught_up", "event", "ping", "unsubscribed", "token_expiring"}
