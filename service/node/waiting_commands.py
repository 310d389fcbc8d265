"""Commands that have been appended and whose receipts have not come back yet."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from lastseen.commands import CommandName

from service.domain.commands import (
    NO_ANSWER,
    NO_RESULT,
    NO_RUNNER,
    TASK_ENDED,
    CommandResult,
    State,
    outcome_of_end,
    read_receipt,
)
from service.domain.records import Record


class Key(NamedTuple):
    """Names a command: an id is its user's own within a task."""

    task: str
    user: str
    id: str


@dataclass(slots=True, eq=False)
class Waiting:
    """One of them. `until` is the loop's time up to which it is waited for."""

    key: Key
    command: CommandName
    print: bytes
    until: float
    answer: asyncio.Future[CommandResult]
    is_held: Callable[[str], Awaitable[bool]]
    """Whether a runner may still have the task, for all that is known."""
    accepted: bool = False
    has_receipt: bool = False
    """Whether a receipt from before says what became of a command of that id, perhaps this one."""
    asking: int = 0
    """How many wait for it: the same command may be sent again meanwhile."""

    def decide(self, state: State, reason: str | None) -> None:
        """It is known what became of it; the first to say so is right."""
        if not self.answer.done():
            self.answer.set_result(self._result(state, reason))

    def end(self, *, lost: bool) -> None:
        """The task has ended: nobody compares the command with what its id stood for any more."""
        if self.has_receipt:
            self.decide(State.UNKNOWN, TASK_ENDED)
        else:
            self.decide(*outcome_of_end(lost=lost))

    async def result(self) -> CommandResult:
        """What became of it; `unknown` when its time has passed."""
        left = self.until - asyncio.get_running_loop().time()
        # Not cancelled with whoever waits here: another may wait for the same.
        await asyncio.wait([self.answer], timeout=max(left, 0.0))
        if self.answer.done():
            return self.answer.result()
        if self.accepted:
            return self._result(State.UNKNOWN, NO_RESULT)
        is_held = await self.is_held(self.key.task)
        if self.answer.done():
            return self.answer.result()
        return self._result(State.UNKNOWN, NO_ANSWER if is_held else NO_RUNNER)

    def _result(self, state: State, reason: str | None) -> CommandResult:
        return CommandResult(self.key.id, self.command, self.key.task, state, reason)


class WaitingCommands:
    """All of them in the node of that name, by task."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._by_task: dict[str, dict[Key, Waiting]] = {}

    def find(self, key: Key) -> Waiting | None:
        """The command of that key, if it waits."""
        return self._by_task.get(key.task, {}).get(key)

    def add(self, waiting: Waiting) -> None:
        """Wait for one more."""
        self._by_task.setdefault(waiting.key.task, {})[waiting.key] = waiting

    def drop(self, waiting: Waiting) -> None:
        """Nobody waits for it any more."""
        of_task = self._by_task.get(waiting.key.task)
        if of_task is not None and of_task.get(waiting.key) is waiting:
            del of_task[waiting.key]
            if not of_task:
                del self._by_task[waiting.key.task]

    def take_receipt(self, task: str, record: Record) -> None:
        """A receipt came on the channel of `task`; it is read only where one of that task's commands waits."""
        of_task = self._by_task.get(task)
        receipt = read_receipt(record) if of_task else None
        if of_task is None or receipt is None:
            return
        waiting = of_task.get(Key(task, receipt.by, receipt.command_id))
        if waiting is None or waiting.command != receipt.command:
            return
        if receipt.refuses_id and not (receipt.node == self._node or (receipt.is_of_start and receipt.node is None)):
            return  # what another node sent with this id; a start is refused whoever sent it
        if receipt.is_final:
            waiting.decide(receipt.state, receipt.reason)
        else:
            waiting.accepted = True

    def take_end(self, task: str, *, lost: bool) -> None:
        """The task has ended, perhaps because its runner was lost: no receipt can come any more."""
        for waiting in self._by_task.get(task, {}).values():
            waiting.end(lost=lost)
