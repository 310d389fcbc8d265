"""Starts of tasks: what is asked, what became of it, and what a task's first events say of who began it."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from lastseen.commands import CommandName
from lastseen.task_start import TaskStart

from service.domain.command_requests import CommandRequest
from service.domain.commands import RECEIPT_TYPE, Receipt, State, read_receipt
from service.domain.records import Record

FIRST_EVENTS: Final = 10
"""Among so many first events of a task the receipt of its start is: a runner's second is it."""


def start_request(user: str, project_id: str, start: TaskStart, id_: str, task_id: str | None = None) -> CommandRequest:
    """The command that runs `start` as a task of the project. Without a `task_id` the id names the task.

    So the same start, sent again with its id, is of the same task on whatever node.
    """
    if task_id is None:
        task_id = "task-" + blake2b(f"{user} {id_}".encode(), digest_size=12).hexdigest()
    return CommandRequest(CommandName.START, task_id, start.to_data(), id_, project_id=project_id)


@dataclass(frozen=True, slots=True)
class Started:
    """What became of a start that the log tells of.

    `partition` and `offset` are of the task's first event; everything of the task comes behind `position` (a token).
    """

    state: State
    reason: str | None
    partition: int
    offset: int
    position: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a task began, as far as its first events say."""

    receipt: Receipt | None
    """Of the start that it was begun by."""
    may_follow: bool
    """Whether that may still come."""


def beginning_of(first: Iterable[Record]) -> Beginning:
    """By the first events of a task's channel, in order, up to FIRST_EVENTS of them."""
    may_follow = True
    for record in first:
        if record.type == RECEIPT_TYPE:
            receipt = read_receipt(record)
            if receipt is not None and receipt.is_of_start and receipt.is_final and not receipt.refuses_id:
                return Beginning(receipt, may_follow=False)
        elif record.type != "task_started":
            # A runner says what became of the start before it says anything else.
            may_follow = False
    return Beginning(None, may_follow)
