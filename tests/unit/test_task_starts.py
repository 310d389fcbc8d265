"""Starts: which task they are of, who may, how one sent again is recognised, and what their receipts are."""

import asyncio

import pytest
from lastseen.commands import CommandName
from lastseen.task_start import TaskStart
from pydantic import JsonValue

from service.domain.command_requests import CommandRequest
from service.domain.commands import CommandResult, State
from service.domain.errors import BadRequest, Denied, LogUnavailable, Unavailable
from service.domain.records import Record, read_record
from service.domain.task_starts import Beginning, beginning_of, start_request
from service.node.commands import GRACE_SECONDS
from tests.raw import raw_of, task_event
from tests.unit.test_commander import ANN, BOB, NOW_MS, VIEWER, Facts, Ground, simulated

START = TaskStart(command=("make",))


def start(id_: str = "s", task: str | None = "new", program: str = "make", project: str = "shop") -> CommandRequest:
    return start_request("ann", project, TaskStart(command=(program,)), id_, task)


def sending(ground: Ground, request: CommandRequest | None = None) -> asyncio.Task[CommandResult]:
    return asyncio.create_task(ground.commander.send(ANN, request or start()))


def receipt(ground: Ground, state: str, **more: JsonValue) -> None:
    ground.receipt("s", state, "task_start", "new", "ann", **more)


def test_the_id_names_the_task() -> None:
    one = start_request("ann", "shop", START, "a")
    assert one == start_request("ann", "shop", START, "a")
    others = [start_request("bob", "shop", START, "a"), start_request("ann", "shop", START, "b")]
    assert len({one.task_id, *(other.task_id for other in others)}) == 3
    named = start_request("ann", "shop", START, "a", "t")
    assert (named.task_id, named.command, named.project_id) == ("t", CommandName.START, "shop")


@simulated
async def test_what_a_runner_is_told_of_a_start(ground: Ground) -> None:
    waiting = sending(ground)
    (command,) = await ground.until_appended(1)
    assert (command.command, command.task_id, command.project_id) == (CommandName.START, "new", "shop")
    assert (command.user_id, command.node, command.data) == ("ann", "n1", START.to_data())
    assert command.deadline.timestamp() * 1000 == NOW_MS + 10_000
    ground.publish("task_started", "new")
    receipt(ground, "applied")
    assert await waiting == CommandResult("s", CommandName.START, "new", State.APPLIED)


@simulated
async def test_who_may_not_start(ground: Ground) -> None:
    with pytest.raises(Denied, match="Project access denied"):
        await ground.commander.send(VIEWER, start())
    ground.verdict = Unavailable("behind")
    with pytest.raises(Unavailable, match="behind"):
        await ground.commander.send(ANN, start())
    assert not ground.appended


@simulated
async def test_the_same_start_at_once_is_appended_once(ground: Ground) -> None:
    both = [sending(ground), sending(ground)]
    await ground.until_appended(1)
    for other in (start(program="other"), start(project="other")):
        with pytest.raises(BadRequest, match="was given to another command"):
            await ground.commander.send(ANN, other)
    ground.facts["new"] = Facts("shop", ended=False)
    both.append(sending(ground))
    await asyncio.sleep(0)
    receipt(ground, "rejected", reason="not_allowed")
    results = await asyncio.gather(*both)
    assert {(result.state, result.reason) for result in results} == {(State.REJECTED, "not_allowed")}
    assert await ground.commander.send(ANN, start()) == results[0]
    assert len(ground.appended) == 1


@simulated
async def test_a_start_that_another_node_has_sent_is_known_by_the_task_s_first_events(ground: Ground) -> None:
    ground.facts["new"] = Facts("shop", ended=True)
    (said,) = receipts(state="applied")
    ground.beginning = beginning_of([said])
    assert (await ground.commander.send(ANN, start())).success
    for request, who in ((start("another"), ANN), (start(), BOB)):
        with pytest.raises(BadRequest, match="there is a task new already") as refused:
            await ground.commander.send(who, request)
        assert refused.value.code == "task_id_in_use"
    assert not ground.appended


@simulated
async def test_a_task_that_has_only_begun_may_be_of_the_same_start(ground: Ground) -> None:
    ground.facts["new"] = Facts("shop", ended=False)
    ground.beginning = Beginning(None, may_follow=True)
    waiting = sending(ground)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    receipt(ground, "applied")
    assert (await waiting).success
    result = await ground.commander.send(ANN, start("never-heard-of"))
    assert (result.state, result.reason) == (State.UNKNOWN, "no_answer")
    assert not ground.appended
    assert not ground.commander._waiting._by_task


@simulated
async def test_a_start_of_a_task_that_another_got_first(ground: Ground) -> None:
    """A runner may refuse it without naming the node: an id is of one start."""
    waiting = sending(ground)
    await ground.until_appended(1)
    receipt(ground, "rejected", reason="id_in_use", node="n2")
    await asyncio.sleep(0)
    assert not waiting.done(), "another content under that id, at another node"
    receipt(ground, "rejected", reason="id_in_use")
    result = await waiting
    assert (result.state, result.reason) == (State.REJECTED, "id_in_use")


@simulated
async def test_nobody_takes_a_start(ground: Ground) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await ground.commander.send(ANN, start())).state is State.UNKNOWN
    assert loop.time() - began == pytest.approx(10 + GRACE_SECONDS, abs=0.1)
    waiting = sending(ground)
    assert [command.id for command in await ground.until_appended(2)] == ["s", "s"], "with another deadline"
    receipt(ground, "applied")
    assert (await waiting).success
    ground.log.available = False
    with pytest.raises(LogUnavailable):
        await ground.commander.send(ANN, start("other", "other"))


def receipts(**data: JsonValue) -> list[Record]:
    told: dict[str, JsonValue] = {"command_id": "s", "command": "task_start", "by": "ann", **data}
    return [read_record(raw_of(0, 0, task_event("new", "task_command", data=told)))]


def first(*types: str) -> list[Record]:
    return [read_record(raw_of(0, at, task_event("new", type_, data={}))) for at, type_ in enumerate(types)]


def test_how_a_task_began() -> None:
    (applied,) = receipts(state="applied")
    begun = beginning_of([*first("task_started"), applied, *first("task_output")])
    assert begun.receipt is not None
    assert (begun.receipt.by, begun.receipt.command_id, begun.may_follow) == ("ann", "s", False)
    refused, accepted = receipts(state="rejected", reason="id_in_use"), receipts(state="accepted")
    assert beginning_of([*first("task_started"), *refused, *accepted]) == Beginning(None, may_follow=True)
    assert beginning_of([*first("task_started"), *refused, applied]).receipt == begun.receipt
    other = receipts(state="applied", command="task_pause")
    assert beginning_of([*first("task_started", "task_command"), *other]) == Beginning(None, may_follow=True)
    for further in ("task_output", "task_completed", "anything"):
        assert beginning_of(first("task_started", further)) == Beginning(None, may_follow=False)
    assert beginning_of([]) == Beginning(None, may_follow=True)
