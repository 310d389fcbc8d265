"""Whatever is lost, late or sent twice: a command is applied at most once, and no answer says what is not so.

Two nodes take the commands of clients that leave and come back with the same id; a model of a runner keeps what
`docs/adr/0007-commands.md` asks of one: it applies an id once and none past its deadline, reports before it ends
the task, and may be lost between applying and reporting.
"""

import asyncio
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from lastseen.commands import Command, CommandName, decode
from lastseen.envelope import Event

from service.adapters.memory import MemoryLog
from service.adapters.memory_commands import MemoryCommands
from service.domain.command_requests import CommandRequest
from service.domain.commands import CommandResult, State
from service.domain.errors import LogUnavailable, TooManyCommands
from service.domain.identity import Identity
from service.domain.records import Record, read_record
from service.domain.task_starts import Beginning
from service.node.commands import Commander
from service.settings import Settings
from tests.raw import raw_of, task_event
from tests.simulation import simulate

SETTINGS = Settings(command_deadline_seconds=10, max_waiting_commands=4)
USERS = [Identity(name, "", frozenset(), frozenset(), 2**40) for name in ("ann", "bob")]
Key = tuple[str, str]


class Facts(NamedTuple):
    """What the log says of a task."""

    project: str | None
    ended: bool


class Flaky(MemoryCommands):
    """Kafka, which may be away before an append or after it."""

    def __init__(self, random: Random) -> None:
        super().__init__(MemoryLog(1))
        self._random = random

    async def append(self, command: Command) -> None:
        await asyncio.sleep(self._random.choice([0, 0.1, 4]))
        fate = self._random.random()
        if fate < 0.1:
            raise LogUnavailable("away before")
        await super().append(command)
        await asyncio.sleep(self._random.choice([0, 0.1]))
        if fate > 0.9:
            raise LogUnavailable("away after")


class World:
    """A log of one task's events, two nodes that read it, a runner and its clients."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.log: list[Record] = []
        self.ended = False
        self.commands = Flaky(random)
        self.applied: Counter[Key] = Counter()
        self.answers: dict[Key, set[State]] = {}
        self.nodes = [Node(self), Node(self)]

    def publish(self, event: Event) -> None:
        if not self.ended:  # else it would be void
            self.log.append(read_record(raw_of(0, len(self.log), event)))

    async def run_task(self) -> None:
        """The runner, until the task has ended."""
        said: dict[Key, str] = {}
        at = 0
        records = self.commands.log._partitions[0].records
        while True:
            await asyncio.sleep(self.random.choice([0, 0, 0.1, 1, 9]))
            if self.random.random() < 0.03:
                return self.end("task_completed")
            if at == len(records):
                continue
            command = decode(records[at].value, records[at].headers)
            at += 1
            key = command.user_id, command.id
            if key not in said:
                if command.deadline.timestamp() < asyncio.get_running_loop().time():
                    said[key] = "expired"
                elif self.random.random() < 0.2:
                    said[key] = "rejected"
                else:
                    if self.random.random() < 0.5:
                        self.report(command, "accepted")
                    self.applied[key] += 1
                    said[key] = "applied"
                    await asyncio.sleep(self.random.choice([0, 0.1]))
                    if self.random.random() < 0.05:
                        return self.end("task_failed", reason="runner_lost")
            self.report(command, said[key])

    def report(self, command: Command, state: str) -> None:
        data = {"command_id": command.id, "command": command.command, "state": state, "by": command.user_id}
        self.publish(task_event("t", "task_command", data=data))

    def end(self, type_: str, **data: str) -> None:
        self.publish(task_event("t", type_, data=data))
        self.ended = True

    async def ask(self, who: Identity, id_: str) -> None:
        """A client that wants it known what became of its command, and leaves now and then."""
        for _ in range(6):
            commander = self.random.choice(self.nodes).commander
            request = CommandRequest(CommandName.INPUT, "t", {"input": f"{who.user_id} {id_}"}, id_)
            try:
                async with asyncio.timeout(self.random.choice([0.05, 2, 60])):
                    result: CommandResult = await commander.send(who, request)
            except (LogUnavailable, TooManyCommands, TimeoutError):
                await asyncio.sleep(self.random.choice([0, 1]))
                continue
            self.answers.setdefault((who.user_id, id_), set()).add(result.state)


class Node:
    """A node as far as commands go; its tail lags."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._facts = Facts(None, ended=False)
        clock: Any = SimpleNamespace(now_ms=lambda: int(asyncio.get_running_loop().time() * 1000))
        self.commander = Commander(world.commands, self, self, self, self, clock, SETTINGS)

    async def may_execute(self, _: Identity, __: str) -> bool:
        await asyncio.sleep(self._world.random.choice([0, 0.01]))
        return True

    async def may_start(self, _: Identity, __: str) -> bool:
        return False

    async def of(self, _: str) -> Beginning:
        return Beginning(None, may_follow=False)

    async def is_held(self, _: str) -> bool:
        return True

    async def find(self, _: str) -> Facts:
        return self._facts

    async def tail(self) -> None:
        at = 0
        while True:
            await asyncio.sleep(self._world.random.choice([0.01, 0.1, 2]))
            for record in self._world.log[at:]:
                at += 1
                if record.ended_task is not None:
                    self._facts = self._facts._replace(ended=True)
                self.commander.note(record)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_answers_are_true(seed: int) -> None:
    world: list[World] = []

    async def main() -> None:
        world.append(World(Random(seed)))
        others = [asyncio.create_task(node.tail()) for node in world[0].nodes]
        others.append(asyncio.create_task(world[0].run_task()))
        await asyncio.gather(*(world[0].ask(who, f"c{n}") for who in USERS for n in range(4)))
        for node in world[0].nodes:
            assert not node.commander._waiting._by_task, "nothing is left of what nobody waits for"
            assert node.commander._under_way == 0
        for other in others:
            other.cancel()
        await asyncio.wait(others)

    simulate(main)
    applied, answers = world[0].applied, world[0].answers
    assert all(times == 1 for times in applied.values())
    for key, states in answers.items():
        final = states - {State.UNKNOWN}
        assert len(final) <= 1, f"{key} was told {states}"
        if final:
            assert (State.APPLIED in final) == (key in applied), f"{key} was told {states}"
