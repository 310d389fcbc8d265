"""Commands over two nodes, applied by a runner that is nobody's of ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
from lastseen.client import Client
from lastseen.commands import CommandName

from tests.command_runner import Runner, reading_commands
from tests.nodes import Ground, Message, NodeProcess, WireClient, new_ground, started, token
from tests.up_process import lastseen
from tests.waiting import until

DEADLINE = 3.0
ANN, BOB, VIEWER, STRANGER = (token(user) for user in ("ann", "bob", "viewer", "stranger"))


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def nodes(ground: Ground) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    settings = {"command_deadline_seconds": DEADLINE, "max_waiting_commands_per_connection": 10}
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(ground.node(name, **settings)) for name in ("n1", "n2"))
        one, two = await asyncio.gather(*starting)
        await one.publish(
            {"type": "project_created", "project_id": "shop", "user_id": "root"},
            *(
                {"type": "project_member_added", "project_id": "shop", "data": {"user_id": user, "role": role}}
                for user, role in (("ann", "owner"), ("bob", "member"), ("viewer", "viewer"))
            ),
            started("t", project_id="shop", user_id="ann"),
            started("ended", project_id="shop", user_id="ann"),
            {"type": "task_completed", "task_id": "ended", "project_id": "shop"},
        )
        yield one, two
        assert "Traceback" not in one.said + two.said


@pytest.fixture(scope="module")
async def runner(ground: Ground, nodes: tuple[NodeProcess, NodeProcess]) -> AsyncIterator[Runner]:
    """Reports through the second node whatever the first has taken."""
    runner = Runner(nodes[1])
    async with reading_commands(ground) as consumer:
        running = asyncio.create_task(runner.run(consumer))
        yield runner
        assert not running.done(), running.result()
        running.cancel()


Nodes = tuple[NodeProcess, NodeProcess]


async def command(client: WireClient, type_: str, **fields: object) -> Message:
    """Sends a command; its answer."""
    result = {"task_input": "input_result", "task_cancel": "cancel_result", "task_confirm": "confirm_result"}
    await client.send({"type": type_, "task_id": "t", **fields})
    return await client.hear(result[type_])


async def test_commands_are_applied_and_seen_by_all(nodes: Nodes, runner: Runner) -> None:
    one, two = nodes
    async with one.client(ANN) as ann, two.client(BOB) as bob, two.client(VIEWER) as viewer:
        await viewer.subscribe("task:t")
        answer = await command(ann, "task_input", input="ls\n", id="first", ref=1)
        assert answer == {
            "type": "input_result",
            "task_id": "t",
            "id": "first",
            "success": True,
            "state": "applied",
            "reason": None,
            "ref": 1,
        }
        assert (await command(bob, "task_confirm", confirmation_id="c", approved=True))["success"]
        seen = [(await viewer.hear("task_command"))["data"] for _ in range(4)]
        assert [(one["command"], one["state"], one["by"]) for one in seen] == [
            ("task_input", "accepted", "ann"),
            ("task_input", "applied", "ann"),
            ("task_confirm", "accepted", "bob"),
            ("task_confirm", "applied", "bob"),
        ]
    first, second = runner.read
    assert (first.id, first.user_id, first.project_id, first.node) == ("first", "ann", "shop", "n1")
    assert (second.data, second.node) == ({"confirmation_id": "c", "approved": True}, "n2")


async def test_what_was_not_applied_is_no_success(nodes: Nodes, runner: Runner) -> None:
    async with nodes[0].client(BOB) as client:
        answer = await command(client, "task_input", input="reject")
        assert (answer["success"], answer["state"], answer["reason"]) == (False, "rejected", "no_input")
        runner.works.clear()
        await client.send({"type": "task_cancel", "task_id": "t"})
        await until(lambda: runner.read[-1].command is CommandName.CANCEL, what="the cancel being read")
        late = runner.read[-1].deadline
        await until(lambda: datetime.now(UTC) > late, what="its deadline")
        runner.works.set()
        answer = await client.hear("cancel_result")
        assert (answer["success"], answer["state"], answer["reason"]) == (False, "expired", "deadline")


async def test_no_answer_is_unknown_and_nothing_waits_for_it(nodes: Nodes, runner: Runner) -> None:
    async with nodes[0].client(ANN) as client:
        for number in range(11):
            await client.send({"type": "task_input", "task_id": "t", "input": "silence", "ref": number})
        refused = await client.hear("error")
        assert (refused["code"], refused["ref"], refused["retry_after"]) == ("too_many_commands", 10, 1.0)
        await client.quiet()
        assert not [message for message in client.heard if message["type"] == "input_result"]
        # In whatever order: each looks for a runner by itself.
        answers = [await client.hear("input_result") for _ in range(10)]
        assert sorted(answer["ref"] for answer in answers) == list(range(10))
        assert {(one["success"], one["state"], one["reason"]) for one in answers} == {(False, "unknown", "no_runner")}


async def test_an_id_is_applied_once_over_both_nodes(nodes: Nodes, runner: Runner) -> None:
    one, two = nodes
    async with one.client(ANN) as client:
        await client.send({"type": "task_input", "task_id": "t", "input": "once", "id": "same"})
    # The client has left at once: it has not asked to stop anything.
    await until(lambda: "task_input once" in runner.applied, what="the input being applied")
    for node in (one, two, one):
        async with node.client(ANN) as client:
            assert (await command(client, "task_input", input="once", id="same"))["state"] == "applied"
            await client.send({"type": "task_input", "task_id": "t", "input": "other", "id": "same"})
            if node is one:
                assert (await client.hear("error"))["code"] == "id_in_use"
    assert runner.applied.count("task_input once") == 1
    assert "task_input other" not in runner.applied


async def test_who_may_not_and_what_is_over(nodes: Nodes, runner: Runner) -> None:
    async with nodes[0].client(VIEWER) as viewer, nodes[0].client(STRANGER) as stranger, nodes[1].client(ANN) as ann:
        for client in (viewer, stranger):
            await client.send({"type": "task_input", "task_id": "t", "input": "no", "ref": "r"})
            error = await client.hear("error")
            assert (error["message"], error["code"], error["ref"]) == ("Task access denied", "access_denied", "r")
        await ann.send({"type": "task_cancel", "task_id": "nobody-s"})
        assert (await ann.hear("error"))["message"] == "Task access denied"
        await ann.send({"type": "task_input", "task_id": "t"})
        assert (await ann.hear("error"))["message"] == "Task ID and input required"
        await ann.send({"type": "task_cancel"})
        assert (await ann.hear("error"))["message"] == "Task ID required"
        answer = await command(ann, "task_cancel", task_id="ended")
        assert (answer["success"], answer["state"], answer["reason"]) == (False, "rejected", "task_ended")
        assert (await command(ann, "task_input", input="the last"))["success"]
    assert runner.read[-1].data == {"input": "the last"}
    assert not {command.task_id for command in runner.read} - {"t"}
    assert not {command.user_id for command in runner.read} - {"ann", "bob"}


async def test_the_client_and_the_terminal(nodes: Nodes, runner: Runner) -> None:
    one, two = nodes
    async with Client(one.url, ANN) as client:
        result = await client.send_input("t", "from the client\n", command_id="mine")
        assert (result.id, result.success) == ("mine", True)
        assert (await client.pause("t")).success
        assert (await client.cancel("ended")).reason == "task_ended"
    options = ("--url", two.url, "--token", BOB)
    assert await lastseen("send-input", "t", "yes", *options) == (0, "", "")
    assert await lastseen("pause", "t", *options) == (0, "", "")
    assert await lastseen("resume", "t", *options) == (0, "", "")
    assert await lastseen("confirm", "t", "c1", "no", *options) == (0, "", "")
    assert runner.read[-1].data == {"confirmation_id": "c1", "approved": False}
    assert {"task_input from the client", "task_pause", "task_input yes", "task_resume"} <= set(runner.applied)
    status, out, err = await lastseen("send-input", "t", "reject", "-n", *options, "--id", "y")
    assert (status, out, err) == (1, "", "rejected: the task takes no input (command y)\n")
    status, out, err = await lastseen("cancel", "ended", *options, "--id", "x")
    assert (status, out, err) == (1, "", "rejected: the task has ended (command x)\n")
