"""What the console shows, as a node answers it: projects, tasks, who is online, the cluster and the quarantine."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from tests.nodes import ADMIN, Ground, NodeProcess, new_ground, output, token
from tests.raw import UNUSABLE_VALUE, unusable_headers
from tests.waiting import until

ANN, BOB, CARL = token("ann"), token("bob"), token("carl")


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def node(ground: Ground) -> AsyncIterator[NodeProcess]:
    """A node with its consumers, and a project of ann's in which bob is a viewer."""
    async with ground.node() as node, ground.log_writer(), ground.projections():
        await node.publish(
            {"type": "project_created", "project_id": "shop", "user_id": "ann", "data": {"name": "Shop"}},
            {
                "type": "project_member_added",
                "project_id": "shop",
                "user_id": "ann",
                "data": {"user_id": "bob", "role": "viewer"},
            },
            {"type": "task_started", "task_id": "build-7", "project_id": "shop", "user_id": "ann"},
            {"type": "task_started", "task_id": "build-8", "project_id": "shop", "user_id": "ann"},
            output("build-8", 1, project_id="shop"),
            {"type": "task_failed", "task_id": "build-8", "project_id": "shop", "user_id": "ann"},
        )
        yield node
        assert "Traceback" not in node.said


async def get(node: NodeProcess, path: str, access: str = ADMIN, answered: int = 200, **query: Any) -> Any:
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {access}"}) as http:
        answer = await http.get(f"{node.url}/api/v1/{path}", params=query)
    assert answer.status_code == answered, answer.text
    return answer.json()


async def test_projects_and_tasks_of_whoever_may_read_them(node: NodeProcess) -> None:
    async def has_come() -> bool:
        tasks = (await get(node, "tasks", project_id="shop"))["tasks"]
        return bool(tasks) and tasks[0]["status"] == "failed"

    await until(has_come, what="the tail having come to the end")
    assert (await get(node, "projects", BOB))["projects"] == [
        {"id": "shop", "name": "Shop", "role": "viewer", "members": 2, "running_tasks": 1}
    ]
    page = await get(node, "projects", limit=1)
    assert (page["next"], [one["role"] for one in page["projects"]]) == ("shop", [None])
    assert (await get(node, "projects", after="shop"))["projects"] == []
    assert (await get(node, "projects", CARL))["projects"] == []
    tasks = (await get(node, "tasks", BOB))["tasks"]
    assert [(task["id"], task["status"]) for task in tasks] == [("build-8", "failed"), ("build-7", "running")]
    assert tasks[0]["ended_at"] >= tasks[0]["first_at"]
    assert tasks[1]["ended_at"] is None
    assert [task["id"] for task in (await get(node, "tasks", status="running"))["tasks"]] == ["build-7"]
    assert (await get(node, "tasks", CARL))["tasks"] == []
    assert (await get(node, "tasks", answered=422, status="asleep"))["code"] == "invalid_request"


async def test_who_is_online(node: NodeProcess) -> None:
    async with node.client(BOB) as client:
        await client.hear("connection_established")
        await client.subscribe("project:shop")
        of_shop = await get(node, "presence", ANN, channel="project:shop")
        assert (of_shop["users"], of_shop["online_users"], of_shop["complete"]) == (["bob"], 1, True)
        assert "bob" in (await get(node, "presence"))["users"]
        assert (await get(node, "presence", CARL, 403, channel="project:shop"))["code"] == "access_denied"
        assert (await get(node, "presence", ANN, 403))["code"] == "forbidden"


async def test_the_cluster(node: NodeProcess) -> None:
    async def is_level() -> bool:
        return bool((await get(node, "cluster"))["lag"] == {"tail": 0, "log_writer": 0, "projections": 0})

    await until(is_level, timeout=30, what="everybody having read everything")
    cluster = await get(node, "cluster")
    assert cluster["kafka"] == cluster["postgres"] == {"reachable": True}
    assert [one["partition"] for one in cluster["partitions"]] == [0, 1, 2, 3]
    assert all(one["first"] <= one["read"] <= one["end"] for one in cluster["partitions"])
    (only,) = cluster["nodes"]
    assert (only["node"], only["answering"], only["lease_until"]) == ("node-1", True, None)
    assert only["incarnation"]
    assert cluster["counters"]["appended_events"] == 6
    assert cluster["runners"] == []
    for path in ("cluster", "quarantine"):
        assert (await get(node, path, ANN, 403))["code"] == "forbidden"


async def test_the_quarantine(node: NodeProcess, ground: Ground) -> None:
    async with AIOKafkaProducer(bootstrap_servers=ground.kafka) as producer:
        for partition in (1, 2, 3):
            await producer.send_and_wait(
                ground.topic,
                UNUSABLE_VALUE + b"y" * 3000,
                headers=[*unusable_headers(["task:bad"])],
                partition=partition,
            )

    async def all_of_it() -> bool:
        return len((await get(node, "quarantine"))["records"]) == 3

    await until(all_of_it, timeout=30, what="the records being in the quarantine")
    first = await get(node, "quarantine", limit=2)
    rest = await get(node, "quarantine", limit=2, before=first["next"])
    assert (len(first["records"]), len(rest["records"]), rest["next"]) == (2, 1, None)
    records = [*first["records"], *rest["records"]]
    assert {one["partition"] for one in records} == {1, 2, 3}
    assert records == sorted(records, key=lambda one: (one["at"], one["partition"]), reverse=True)
    for one in records:
        assert (one["channels"], one["reason"] != "") == (["task:bad"], True)
        assert ["type", "task_output"] in one["headers"]
        assert one["value"].startswith('{"data":"\ufffd"}y')
        assert (len(one["value"]), one["value_bytes"]) == (2048, 3000 + len(UNUSABLE_VALUE))
    assert (await get(node, "quarantine", answered=422, before="1-2"))["code"] == "invalid_request"
