"""Commands and their receipts: what a receipt says, and what the answer to a command is."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from lastseen.commands import CommandName
from pydantic import JsonValue
from pydantic_core import from_json, to_json

from service.domain.records import Record

RECEIPT_TYPE: Final = "task_command"
TASK_ENDED: Final = "task_ended"
NO_ANSWER: Final = "no_answer"
NO_RUNNER: Final = "no_runner"
NO_RESULT: Final = "no_result"
ID_IN_USE: Final = "id_in_use"
TASK_ID_IN_USE: Final = "task_id_in_use"
RUNNER_LOST: Final = "runner_lost"


class State(StrEnum):
    """How far a command has come."""

    ACCEPTED = "accepted"
    """A runner has it; another receipt follows."""
    APPLIED = "applied"
    REJECTED = "rejected"
    """Not applied, for a reason, and never will be."""
    EXPIRED = "expired"
    """Not applied before its deadline, and never will be."""
    UNKNOWN = "unknown"
    """It may have been applied or not."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command, as far as is known."""

    id: str
    command: CommandName
    task_id: str
    state: State
    reason: str | None = None
    """A short stable word of ours, or what the runner gave; None where it was applied."""

    @property
    def success(self) -> bool:
        """Whether it was applied: nothing less."""
        return self.state is State.APPLIED


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a runner says of a command; `by` is the user who sent the command."""

    command_id: str
    command: str
    by: str
    state: State
    reason: str | None
    node: str | None = None
    """The node whose command is meant, where only that one is."""

    @property
    def refuses_id(self) -> bool:
        """Whether it is no word on the command of that id, but on another that came with the same."""
        return self.state is State.REJECTED and self.reason == ID_IN_USE

    @property
    def is_of_start(self) -> bool:
        """Whether it says what became of the start of its task."""
        return self.command == CommandName.START

    @property
    def is_final(self) -> bool:
        """Whether no other is to be waited for."""
        return self.state is not State.ACCEPTED


def read_receipt(record: Record) -> Receipt | None:
    """The receipt in a `task_command` event; None where its `data` is none that we know."""
    data = _data_of(record)
    id_, command, by, reason = (data.get(name) for name in ("command_id", "command", "by", "reason"))
    if not (isinstance(id_, str) and isinstance(command, str) and isinstance(by, str)):
        return None
    try:
        state = State(str(data.get("state")))
    except ValueError:
        return None
    node = data.get("node")
    return Receipt(
        id_, command, by, state, reason if isinstance(reason, str) else None, node if isinstance(node, str) else None
    )


def may_hold(record: Record, command_id: str) -> bool:
    """Whether a receipt can be that command's, told without reading it; seldom wrong, and then with True."""
    return b'"%b"' % command_id.encode() in record.value


def is_loss(end: Record) -> bool:
    """Whether this end of a task says that its runner was lost."""
    return RUNNER_LOST.encode() in end.value and _data_of(end).get("reason") == RUNNER_LOST


def outcome_of_end(*, lost: bool) -> tuple[State, str]:
    """What a command is whose task has ended before any receipt said so.

    A runner reports what it has applied before it ends the task, and nothing can be reported behind the end
    (it would be void). So a command without a receipt was not applied, unless the runner was lost.
    """
    return (State.UNKNOWN, RUNNER_LOST) if lost else (State.REJECTED, TASK_ENDED)


def fingerprint(command: CommandName, data: dict[str, JsonValue]) -> bytes:
    """What two commands with one id must agree in."""
    return blake2b(to_json([command, sorted(data.items())]), digest_size=16).digest()


def _data_of(record: Record) -> dict[str, JsonValue]:
    try:
        event = from_json(record.value)
    except ValueError:
        return {}
    data = event.get("data") if isinstance(event, dict) else None
    return data if isinstance(data, dict) else {}
