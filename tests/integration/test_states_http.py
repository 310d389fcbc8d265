"""`GET /api/v1/tasks/{id}` and `/projects/{id}` of a real node: a state, and the place from which to go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import reduce
from itertools import cycle, islice

import httpx
import pytest
from lastseen.client import Client
from lastseen.errors import AccessDenied, BadRequest
from lastseen.task_state import TaskView

from tests.nodes import ADMIN, Ground, Message, NodeProcess, new_ground, output, started, token

ANN, BOB = token("ann"), token("bob")
READERS = 8


@pytest.fixture(scope="module")
async def node(kafka: str, postgres_url: str) -> AsyncIterator[NodeProcess]:
    """A node that judges by the log alone and whose window holds little."""
    async with AsyncExitStack() as stack:
        ground: Ground = await stack.enter_async_context(new_ground(kafka, postgres_url))
        await stack.enter_async_context(ground.log_writer())
        await stack.enter_async_context(ground.projections())
        node = await stack.enter_async_context(ground.node(trust_project_claims=False, window_bytes=20_000))
        await node.publish(
            {"type": "project_created", "project_id": "p", "data": {"owner_id": "ann", "name": "First"}},
            {"type": "project_member_added", "project_id": "p", "data": {"user_id": "bob", "role": "viewer"}},
            {"type": "project_member_added", "project_id": "p", "data": {"user_id": "carl"}},
            {"type": "project_member_removed", "project_id": "p", "data": {"user_id": "carl"}},
        )
        yield node
        assert "Traceback" not in node.said


async def get(node: NodeProcess, path: str, access: str | None = ADMIN) -> httpx.Response:
    headers = {} if access is None else {"Authorization": f"Bearer {access}"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        return await http.get(f"{node.url}/api/v1/{path}", headers=headers)


async def state(node: NodeProcess, path: str, access: str = ANN) -> Message:
    response = await get(node, path, access)
    assert response.status_code == 200, response.text
    answer: Message = response.json()
    return answer


async def test_a_task_from_its_start_to_its_end(node: NodeProcess) -> None:
    await node.publish(started("a", project_id="p", user_id="dora"))
    first = await state(node, "tasks/a")
    assert (first["id"], first["project_id"], first["user_id"], first["status"]) == ("a", "p", "dora", "running")
    assert (first["progress"], first["confirmation"], first["result"], first["ended_at"]) == (None, None, None, None)
    # Its output pushes what says the state out of the window.
    asked = {"confirmation_id": "c", "question": "?"}
    task: Message = {"task_id": "a", "project_id": "p"}
    await node.publish(
        {"type": "task_progress_update", **task, "data": {"percent": 40}},
        {"type": "task_confirmation_required", **task, "data": asked},
        {"type": "task_status_change", **task, "data": {"status": "waiting", "previous": "running"}},
    )
    await node.publish(*(output("a", number, project_id="p") for number in range(300)))
    for access in (ADMIN, ANN, BOB, token("dora")):
        waiting = await state(node, "tasks/a", access)
        assert (waiting["status"], waiting["progress"], waiting["confirmation"]) == ("waiting", {"percent": 40}, asked)
        assert waiting["started_at"] == first["started_at"]
    await node.publish({"type": "task_failed", **task, "data": {"exit_code": 2}})
    ended = await state(node, "tasks/a")
    assert (ended["status"], ended["progress"], ended["confirmation"]) == ("failed", {"percent": 40}, None)
    assert ended["result"] == {"exit_code": 2}
    assert ended["ended_at"] >= ended["started_at"]


async def test_the_screen_of_a_terminal(node: NodeProcess) -> None:
    task: Message = {"task_id": "repl", "project_id": "p"}

    def written(offset: int, text: str) -> Message:
        data = {"stream": "pty", "offset": offset, "bytes": len(text), "text": text}
        return {"type": "task_output", **task, "data": data}

    await node.publish(started("repl", project_id="p", data={"pty": True, "columns": 20, "rows": 2}))
    blank = (await state(node, "tasks/repl"))["screen"]
    assert (blank["columns"], blank["rows"], blank["offset"]) == (20, 2, 0)
    assert blank["cursor"] == {"line": 0, "column": 0, "visible": True}
    # The lines up to the screen are in Postgres alone.
    lines = [written(6 * number, "line\r\n") for number in range(300)]
    told = {**blank, "text": "\x1bclast\r\n", "offset": 1800, "cursor": {"line": 1, "column": 0, "visible": True}}
    await node.publish(*lines, {"type": "task_screen", **task, "data": told}, written(1800, ">>> 6*"))
    screen = (await state(node, "tasks/repl", BOB))["screen"]
    assert ("last" in screen["text"], ">>> 6*" in screen["text"], "line" in screen["text"]) == (True, True, False)
    assert (screen["offset"], screen["cursor"]) == (1806, {"line": 1, "column": 6, "visible": True})
    await node.publish(*(output("repl", number, project_id="p") for number in range(300)))
    assert (await state(node, "tasks/repl"))["screen"] == screen


async def test_a_project_and_its_end(node: NodeProcess) -> None:
    first = await state(node, "projects/p", BOB)
    position = first.pop("position")
    assert first == {
        "id": "p",
        "name": "First",
        "owner": "ann",
        "members": [{"user_id": "ann", "role": "owner"}, {"user_id": "bob", "role": "viewer"}],
        "deleted": False,
        "data": {"owner_id": "ann", "name": "First"},
    }
    await node.publish({"type": "project_config_changed", "project_id": "p", "data": {"colour": "red"}})
    async with node.client(BOB) as client:
        await client.begin()
        await client.subscribe("project:p", after=position)
        assert (await client.hear("project_config_changed"))["data"] == (await state(node, "projects/p"))["data"]
    await node.publish(
        {"type": "project_created", "project_id": "gone", "user_id": "ann", "data": {"name": "Gone"}},
        {"type": "project_deleted", "project_id": "gone"},
    )
    assert (await get(node, "projects/gone", ANN)).status_code == 403
    deleted = await state(node, "projects/gone", ADMIN)
    assert (deleted["deleted"], deleted["name"], deleted["members"], deleted["owner"]) == (True, "Gone", [], None)


@pytest.mark.parametrize("kind", ["tasks", "projects"])
async def test_what_there_is_not_looks_like_what_is_not_for_one(node: NodeProcess, kind: str) -> None:
    await node.publish(started("hidden", project_id="hidden"), {"type": "project_created", "project_id": "hidden"})
    hidden, unknown = await get(node, f"{kind}/hidden", BOB), await get(node, f"{kind}/nothing", BOB)
    assert (hidden.status_code, hidden.json()["code"]) == (403, "access_denied")
    assert unknown.json() == hidden.json()
    missing = await get(node, f"{kind}/nothing", ADMIN)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert (await get(node, f"{kind}/a b")).status_code == 422
    assert (await get(node, f"{kind}/p", None)).status_code == 401


async def test_nothing_falls_between_a_state_and_the_stream_after_it(node: NodeProcess) -> None:
    """While a producer goes on, each reader's state and what follows it are what the whole history says."""
    types = ["task_progress_update", "task_output", "task_paused", "task_confirmation_required", "task_resumed"]
    count = 160

    async def publish() -> None:
        events = [
            {"type": type_, "task_id": "seam", "project_id": "p", "data": {"number": number}}
            for number, type_ in enumerate(islice(cycle([*types, "task_progress_update"]), count))
        ]
        for begin in range(0, count, 4):
            await node.publish(*events[begin : begin + 4])
        await node.publish({"type": "task_completed", "task_id": "seam", "project_id": "p", "data": {"number": count}})

    async def read() -> TaskView:
        async with Client(node.url, ADMIN) as client:
            answer = await client.task("seam")
            view = TaskView.of(answer)
            async with client.subscribe("task:seam", after=answer["position"]) as events:
                async for event in events:
                    view = view.after(event)
            return view

    await node.publish(started("seam", project_id="p"))
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(publish())
        readers: list[asyncio.Task[TaskView]] = []
        while not publishing.done() and len(readers) < READERS:
            readers.append(tasks.create_task(read()))
            await node.publish(output("another", len(readers)))
    async with Client(node.url, ADMIN) as client:
        whole = [event async for event in client.history("task:seam")]
    assert len(whole) == count + 2
    expected = reduce(TaskView.after, whole, TaskView())
    assert [reader.result() for reader in readers] == [expected] * len(readers)


async def test_the_client_says_what_is_wrong(node: NodeProcess) -> None:
    async with Client(node.url, BOB) as client:
        with pytest.raises(AccessDenied, match="Task access denied"):
            await client.task("nothing")
        assert (await client.project("p"))["owner"] == "ann"
    with pytest.raises(BadRequest, match="nothing in the log has begun"):
        await Client(node.url, ADMIN).project("nothing")
