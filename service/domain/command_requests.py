"""The five messages that command a running task: what they mean, and what answers them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lastseen.channels import ID_PATTERN
from lastseen.commands import MAX_CONFIRMATION_ID, MAX_INPUT_BYTES, CommandName
from pydantic import JsonValue

from service.domain.commands import CommandResult
from service.domain.errors import BadRequest
from service.domain.messages import Message
from service.domain.requests import Fields, ProtocolError

_ID: Final = re.compile(ID_PATTERN)
_ID_WORDS: Final = "1 to 128 characters of A-Z a-z 0-9 . _ : @ + = ~ | -"

RESULT_TYPES: Final = {
    CommandName.INPUT: "input_result",
    CommandName.CANCEL: "cancel_result",
    CommandName.PAUSE: "pause_result",
    CommandName.RESUME: "resume_result",
    CommandName.CONFIRM: "confirm_result",
}


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """Do that to the task. `id` is the client's idempotency key; without one it is a command of its own."""

    command: CommandName
    task_id: str
    data: dict[str, JsonValue] = field(default_factory=dict)
    id: str | None = None
    ref: JsonValue = None
    project_id: str | None = None
    """Of a start: where the task is to be. A task that runs has its own."""


def read_command(command: CommandName, fields: Fields, ref: JsonValue = None) -> CommandRequest:
    """The request in a message, or in the body of a request over HTTP; no start. Raises BadRequest."""
    task = fields.get("task_id")
    is_named = isinstance(task, str) and task != ""
    text = fields.get("input")
    if command is CommandName.INPUT and not (is_named and isinstance(text, str) and text):
        raise BadRequest("Task ID and input required", code="task_id_and_input_required", field="input")
    if not isinstance(task, str) or not is_named:
        raise BadRequest("Task ID required", code="task_id_required", field="task_id")
    if not _ID.fullmatch(task):
        raise BadRequest(f"task_id must be {_ID_WORDS}", code="invalid_task_id", field="task_id")
    id_ = fields.get("id")
    if id_ is not None and not (isinstance(id_, str) and _ID.fullmatch(id_)):
        raise BadRequest(f"id must be {_ID_WORDS}", code="invalid_id", field="id")
    return CommandRequest(command, task, _data(command, fields), id_, ref)


def _data(command: CommandName, fields: Fields) -> dict[str, JsonValue]:
    match command:
        case CommandName.INPUT:
            text = fields["input"]
            if len(str(text).encode()) > MAX_INPUT_BYTES:
                problem = f"input must be at most {MAX_INPUT_BYTES} bytes of UTF-8: send more in further messages"
                raise BadRequest(problem, code="input_too_long", field="input")
            return {"input": text}
        case CommandName.CONFIRM:
            confirmation, approved = fields.get("confirmation_id"), fields.get("approved")
            if not (isinstance(confirmation, str) and 0 < len(confirmation) <= MAX_CONFIRMATION_ID):
                problem = f"confirmation_id must be a text of 1 to {MAX_CONFIRMATION_ID} characters"
                raise BadRequest(problem, code="confirmation_id_required", field="confirmation_id")
            if not isinstance(approved, bool):
                raise BadRequest("approved must be true or false", code="approved_required", field="approved")
            return {"confirmation_id": confirmation, "approved": approved}
        case _:
            return {}


def parser(command: CommandName) -> Callable[[Fields, JsonValue], CommandRequest]:
    """What reads the message of that command. It raises ProtocolError."""

    def parse(fields: Fields, ref: JsonValue) -> CommandRequest:
        try:
            return read_command(command, fields, ref)
        except BadRequest as error:
            raise ProtocolError(str(error), error.code, ref) from error

    return parse


def command_result(result: CommandResult, ref: JsonValue) -> Message:
    """The answer to a command: `input_result`, `cancel_result` and so on."""
    message: Message = {
        "type": RESULT_TYPES[result.command],
        "task_id": result.task_id,
        "id": result.id,
        "success": result.success,
        "state": result.state.value,
        "reason": result.reason,
    }
    if ref is not None:
        message["ref"] = ref
    return message
