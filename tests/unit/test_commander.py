"""Sending commands: who may, what is appended, which receipts answer, and what is said when none comes."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from lastseen.commands import Command, CommandName, decode
from pydantic import JsonValue

from service.adapters.memory import MemoryLog
from service.adapters.memory_commands import MemoryCommands
from service.domain.command_requests import CommandRequest
from service.domain.commands import CommandResult, State
from service.domain.errors import BadRequest, Denied, HistoryUnavailable, LogUnavailable, TooManyCommands, Unavailable
from service.domain.identity import Identity
from service.domain.messages import Message
from service.domain.records import read_record
from service.domain.task_starts import Beginning
from service.node.command_tasks import CommandTasks
from service.node.commands import GRACE_SECONDS, Commander
from service.settings import Settings
from tests.raw import raw_of, task_event
from tests.simulation import simulate
from tests.waiting import until

SETTINGS = Settings(instance_id="n1", command_deadline_seconds=10, max_waiting_commands=5)
NOW_MS = 1_700_000_000_000


def identity(user: str) -> Identity:
    return Identity(user, "", frozenset(), frozenset(), 2**40)


ANN, BOB, VIEWER = identity("ann"), identity("bob"), identity("viewer")


class Facts(NamedTuple):
    """What the log says of a task."""

    project: str | None
    ended: bool


class Ground:
    """A commander over twins, a task `t` that runs, and a runner's hand."""

    def __init__(self) -> None:
        self.log = MemoryLog(1)
        self.facts: dict[str, Facts] = {"t": Facts("shop", ended=False)}
        self.verdict: bool | Unavailable = True
        self.held: bool | None = True
        """Whether a runner has the task; None: nobody can tell."""
        self.beginning = Beginning(None, may_follow=False)
        self.commander = self.with_settings()
        self._offset = 0

    def with_settings(self, **changed: int) -> Commander:
        clock: Any = SimpleNamespace(now_ms=lambda: NOW_MS)
        settings = SETTINGS.model_copy(update=changed)
        return Commander(MemoryCommands(self.log), self, self, self, self, clock, settings)

    async def may_execute(self, who: Identity, _: str) -> bool | Unavailable:
        return self.verdict if who is not VIEWER else False

    async def may_start(self, who: Identity, _: str) -> bool | Unavailable:
        return self.verdict if who is not VIEWER else False

    async def of(self, _: str) -> Beginning:
        return self.beginning

    async def is_held(self, _: str) -> bool:
        if self.held is None:
            raise HistoryUnavailable("away")
        return self.held

    async def find(self, task: str) -> Facts | None:
        return self.facts.get(task)

    @property
    def appended(self) -> list[Command]:
        return [decode(raw.value, raw.headers) for raw in self.log._partitions[0].records]

    async def until_appended(self, count: int) -> list[Command]:
        await until(lambda: len(self.appended) >= count, timeout=1, what=f"{count} commands appended")
        return self.appended

    def publish(self, type_: str, task: str = "t", **data: JsonValue) -> None:
        self.commander.note(read_record(raw_of(0, self._offset, task_event(task, type_, data=data))))
        self._offset += 1

    def receipt(
        self,
        id_: str,
        state: str,
        command: str = "task_cancel",
        task: str = "t",
        by: str | None = "ann",
        **more: JsonValue,
    ) -> None:
        self.publish("task_command", task, command_id=id_, command=command, state=state, by=by, **more)

    def sending(self, who: Identity = ANN, **more: Any) -> asyncio.Task[CommandResult]:
        return asyncio.create_task(self.commander.send(who, cancel(**more)))


def cancel(id_: str | None = "c", task: str = "t") -> CommandRequest:
    return CommandRequest(CommandName.CANCEL, task, {}, id_)


def simulated(scenario: Callable[[Ground], Awaitable[None]]) -> Callable[[], None]:
    """The test runs in a loop in which the time that is waited passes at once."""

    async def main() -> None:
        await scenario(Ground())

    def test() -> None:
        simulate(main)

    test.__doc__ = scenario.__doc__
    return test


@simulated
async def test_what_a_runner_is_told(ground: Ground) -> None:
    request = CommandRequest(CommandName.INPUT, "t", {"input": "yes\n"}, "i")
    sending = asyncio.create_task(ground.commander.send(ANN, request))
    (command,) = await ground.until_appended(1)
    assert command.model_dump(mode="json") == {
        "id": "i",
        "command": "task_input",
        "task_id": "t",
        "project_id": "shop",
        "user_id": "ann",
        "role": None,
        "deadline": "2023-11-14T22:13:30.000Z",
        "node": "n1",
        "data": {"input": "yes\n"},
    }
    ground.receipt("i", "applied", "task_input")
    assert await sending == CommandResult("i", CommandName.INPUT, "t", State.APPLIED)


@pytest.mark.parametrize("state", ["applied", "rejected", "expired", "unknown"])
def test_a_final_receipt_is_the_answer(state: str) -> None:
    async def main() -> None:
        ground = Ground()
        sending = ground.sending()
        await ground.until_appended(1)
        ground.receipt("c", "accepted")
        await asyncio.sleep(1)
        assert not sending.done()
        ground.receipt("c", state, reason="because")
        ground.receipt("c", "applied", reason="too late to say")
        result = await sending
        assert (result.state, result.reason, result.success) == (state, "because", state == "applied")

    simulate(main)


@simulated
async def test_other_receipts_are_no_answer(ground: Ground) -> None:
    sending = ground.sending()
    await ground.until_appended(1)
    ground.receipt("other", "applied")
    ground.receipt("c", "applied", task="other")
    ground.receipt("c", "applied", command="task_pause")
    ground.receipt("c", "applied", by="bob")
    ground.receipt("c", "applied", by=None)
    ground.receipt("c", "done")
    ground.publish("task_command", command_id=7, state="applied")
    ground.publish("task_command")
    ground.publish("task_output", command_id="c", command="task_cancel", state="applied")
    await asyncio.sleep(0)
    assert not sending.done()
    ground.receipt("c", "rejected")
    assert (await sending).state is State.REJECTED


@simulated
async def test_no_receipt_means_unknown(ground: Ground) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await ground.commander.send(ANN, cancel("a"))
    assert (result.state, result.reason, result.success) == (State.UNKNOWN, "no_answer", False)
    assert loop.time() - began == pytest.approx(10 + GRACE_SECONDS, abs=0.1)
    sending = ground.sending(id_="b")
    await ground.until_appended(2)
    ground.receipt("b", "accepted")
    result = await sending
    assert (result.state, result.reason) == (State.UNKNOWN, "no_result")


@simulated
async def test_that_there_is_no_runner_is_said_where_no_lease_lives_once_the_deadline_has_passed(
    ground: Ground,
) -> None:
    for held, reason in ((True, "no_answer"), (False, "no_runner"), (None, "no_answer")):
        ground.held = held
        result = await ground.commander.send(ANN, cancel(str(held)))
        assert (result.state, result.reason, result.success) == (State.UNKNOWN, reason, False)


@simulated
async def test_the_end_of_the_task_is_an_answer(ground: Ground) -> None:
    for accepted, reason, expected in (
        (False, None, (State.REJECTED, "task_ended")),
        (True, None, (State.REJECTED, "task_ended")),
        (False, "runner_lost", (State.UNKNOWN, "runner_lost")),
    ):
        before = len(ground.appended)
        sending = ground.sending(id_=None)
        command = (await ground.until_appended(before + 1))[-1]
        if accepted:
            ground.receipt(command.id, "accepted")
        ground.publish("task_failed", reason=reason)
        result = await sending
        assert (result.state, result.reason) == expected
    ground.facts["t"] = Facts("shop", ended=True)
    result = await ground.commander.send(ANN, cancel("sent-before-perhaps"))
    assert (result.state, result.reason) == (State.UNKNOWN, "runner_lost")
    assert (await ground.commander.send(ANN, cancel(None))).state is State.REJECTED


@simulated
async def test_who_may_not(ground: Ground) -> None:
    with pytest.raises(Denied, match="Task access denied"):
        await ground.commander.send(VIEWER, cancel())
    with pytest.raises(Denied, match="Task access denied"):
        await ground.commander.send(ANN, cancel(task="nobody-s"))
    ground.verdict = Unavailable("behind")
    with pytest.raises(Unavailable, match="behind"):
        await ground.commander.send(ANN, cancel())
    assert not ground.appended


@simulated
async def test_a_task_that_has_ended_takes_nothing(ground: Ground) -> None:
    ground.facts["t"] = Facts("shop", ended=True)
    result = await ground.commander.send(ANN, cancel())
    assert (result.state, result.reason) == (State.REJECTED, "task_ended")
    assert not ground.appended


@simulated
async def test_the_same_command_again_has_the_same_answer(ground: Ground) -> None:
    both = [ground.sending(), ground.sending()]
    await ground.until_appended(1)
    ground.receipt("c", "rejected", reason="why")
    first, second = await asyncio.gather(*both)
    ground.publish("task_cancelled")
    ground.facts["t"] = Facts("shop", ended=True)
    assert first == second == await ground.commander.send(ANN, cancel())
    assert (first.state, first.reason, len(ground.appended)) == (State.REJECTED, "why", 1)


@simulated
async def test_an_answer_that_another_node_waited_for_is_known(ground: Ground) -> None:
    ground.receipt("c", "accepted")
    ground.receipt("c", "applied")
    sending = ground.sending()
    await ground.until_appended(1)
    await asyncio.sleep(0)
    assert not sending.done(), "it may be another command of that id"
    ground.receipt("c", "applied")
    assert (await sending).success
    sending = ground.sending(BOB)
    await ground.until_appended(2)
    ground.receipt("c", "rejected", by="bob")
    assert (await sending).state is State.REJECTED, "an id is its user's own"


@simulated
async def test_an_id_that_another_node_has_used(ground: Ground) -> None:
    """The runner tells them apart, and names the node whose command it refuses."""
    ground.receipt("c", "applied")
    sending = ground.sending()
    await ground.until_appended(1)
    ground.receipt("c", "rejected", reason="id_in_use", node="n2")
    await asyncio.sleep(0)
    assert not sending.done(), "it is n2's that was refused"
    ground.receipt("c", "applied")
    assert (await sending).success
    ground.receipt("c", "rejected", reason="id_in_use", node="n2")
    assert (await ground.commander.send(ANN, cancel())).success
    ground.receipt("d", "applied")
    sending = ground.sending(id_="d")
    await ground.until_appended(2)
    ground.receipt("d", "rejected", reason="id_in_use", node="n1")
    result = await sending
    assert (result.state, result.reason) == (State.REJECTED, "id_in_use")
    ground.receipt("e", "applied")
    ground.facts["t"] = Facts("shop", ended=True)
    result = await ground.commander.send(ANN, cancel("e"))
    assert (result.state, result.reason) == (State.UNKNOWN, "task_ended"), "nobody can compare them any more"


@simulated
async def test_one_user_leaves_room_for_others(ground: Ground) -> None:
    ground.commander = ground.with_settings(max_waiting_commands=1000)
    waiting = [ground.sending(id_=f"c{n}") for n in range(100)]
    await ground.until_appended(100)
    with pytest.raises(TooManyCommands, match="100 commands of ann"):
        await ground.commander.send(ANN, cancel("one-more"))
    waiting.append(ground.sending(BOB))
    await ground.until_appended(101)
    ground.publish("task_completed")
    await asyncio.gather(*waiting)
    assert not ground.commander._by_user


@simulated
async def test_receipts_of_users_with_the_same_id(ground: Ground) -> None:
    ann, bob = ground.sending(ANN), ground.sending(BOB)
    await ground.until_appended(2)
    ground.receipt("c", "applied", by="bob")
    assert (await bob).success
    assert not ann.done()
    ground.receipt("c", "expired")
    assert (await ann).state is State.EXPIRED


@simulated
async def test_an_unanswered_command_may_be_sent_again(ground: Ground) -> None:
    assert (await ground.commander.send(ANN, cancel())).state is State.UNKNOWN
    assert (await ground.commander.send(ANN, cancel())).state is State.UNKNOWN
    assert [command.id for command in ground.appended] == ["c", "c"], "the runner recognises the id"
    ground.receipt("c", "applied")
    assert (await ground.commander.send(ANN, cancel())).success
    assert len(ground.appended) == 2


@simulated
async def test_an_id_is_one_command_s(ground: Ground) -> None:
    sending = ground.sending()
    await ground.until_appended(1)
    other = CommandRequest(CommandName.INPUT, "t", {"input": "x"}, "c")
    with pytest.raises(BadRequest, match="was given to another command"):
        await ground.commander.send(ANN, other)
    ground.receipt("c", "applied")
    await sending
    with pytest.raises(BadRequest, match="was given to another command"):
        await ground.commander.send(ANN, other)
    ground.receipt("d", "applied")
    with pytest.raises(BadRequest, match="was given to another command"):
        await ground.commander.send(ANN, CommandRequest(CommandName.INPUT, "t", {"input": "x"}, "d"))
    assert len(ground.appended) == 1


@simulated
async def test_without_an_id_each_is_one_of_its_own(ground: Ground) -> None:
    both = [ground.sending(id_=None), ground.sending(id_=None)]
    first, second = await ground.until_appended(2)
    ground.receipt(first.id, "applied")
    ground.receipt(second.id, "expired")
    assert [result.state for result in await asyncio.gather(*both)] == [State.APPLIED, State.EXPIRED]


@simulated
async def test_kafka_is_away(ground: Ground) -> None:
    ground.log.available = False
    with pytest.raises(LogUnavailable):
        await ground.commander.send(ANN, cancel())
    ground.log.available = True
    sending = ground.sending()
    await ground.until_appended(1)
    ground.receipt("c", "applied")
    assert (await sending).success


@simulated
async def test_only_so_many_wait(ground: Ground) -> None:
    waiting = [ground.sending(id_=f"c{n}") for n in range(5)]
    await ground.until_appended(5)
    with pytest.raises(TooManyCommands):
        await ground.commander.send(ANN, cancel("one-more"))
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    waiting[0] = ground.sending(id_="c0")
    ground.receipt("c0", "applied")
    for n in range(1, 5):
        ground.receipt(f"c{n}", "applied")
    assert all(result.success for result in await asyncio.gather(*waiting))
    assert ground.commander._under_way == 0
    assert not ground.commander._waiting._by_task


class Asker:
    """A connection that keeps what it is told."""

    def __init__(self, who: Identity = ANN) -> None:
        self.id = who.user_id
        self.identity = who
        self.is_gone = False
        self.heard: list[Message] = []

    def answer(self, message: Message) -> None:
        self.heard.append(message)

    def fail(self, message: str, code: str, *, ref: JsonValue = None, retry_after: float | None = None) -> None:
        self.heard.append({"message": message, "code": code, "ref": ref, "retry_after": retry_after})


@simulated
async def test_a_connection_s_commands(ground: Ground) -> None:
    async with asyncio.TaskGroup() as tasks:
        commands = CommandTasks(tasks, ground.commander, limit=3)
        ann, viewer = Asker(), Asker(VIEWER)
        for number in range(4):
            commands.start(ann, CommandRequest(CommandName.INPUT, "t", {"input": str(number)}, None, number))
        assert [(one["code"], one["ref"], one["retry_after"]) for one in ann.heard] == [("too_many_commands", 3, 1.0)]
        sent = await ground.until_appended(3)
        assert [command.data["input"] for command in sent] == ["0", "1", "2"], "in the order in which they came"
        ground.receipt(sent[1].id, "applied", "task_input")
        await until(lambda: len(ann.heard) == 2)
        ground.log.available = False
        commands.start(viewer, cancel())
        commands.start(ann, cancel("gone"))
        await until(lambda: len(ann.heard) == 3 and viewer.heard)
        assert [(one["message"], one["code"]) for one in viewer.heard] == [("Task access denied", "access_denied")]
        assert (ann.heard[1]["ref"], ann.heard[1]["success"]) == (1, True)
        assert (ann.heard[2]["code"], ann.heard[2]["retry_after"]) == ("unavailable", 1.0)
        ground.log.available = True
        commands.start(ann, cancel("last"))
        ann.is_gone = True
        commands.leave(ann.id)
        await ground.until_appended(4)
        await until(lambda: not commands._running)
        assert ground.appended[-1].id == "last", "who leaves has not asked to stop anything"
        assert len(ann.heard) == 3
