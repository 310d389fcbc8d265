"""The command: a task that somebody wants started, or what is to be done to a running one, and its record.

They are in the Kafka topic `commands`. The key is the task's id, so the commands of a task have one order. Headers as
an event's: `v`, `id`, `type` (the command's name), so that a reader may pass over what it does not know without
reading the value.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_serializer, model_validator
from pydantic_core import PydanticCustomError

from lastseen.envelope import Id, Timestamp
from lastseen.field_errors import field_errors
from lastseen.record import HEADER_ID, HEADER_TYPE, HEADER_VERSION, VERSION, NewRecord
from lastseen.task_start import TaskStart

MAX_INPUT_BYTES: Final = 32 * 1024
"""The longest input, in bytes of UTF-8: longer text goes in several commands."""
MAX_CONFIRMATION_ID: Final = 256


class CommandName(StrEnum):
    """What may be asked of whoever runs tasks."""

    START = "task_start"
    INPUT = "task_input"
    CANCEL = "task_cancel"
    PAUSE = "task_pause"
    RESUME = "task_resume"
    CONFIRM = "task_confirm"


TO_RUNNING_TASKS: Final = (
    CommandName.INPUT,
    CommandName.CANCEL,
    CommandName.PAUSE,
    CommandName.RESUME,
    CommandName.CONFIRM,
)
"""What is done to a task that runs, by whoever holds it: all but the start."""


class UnreadableCommand(ValueError):
    """A record that is no command, or one of a version that is not known here."""


class Command(BaseModel):
    """One command. Whoever applies it applies an `id` once per task and user, and none after its `deadline`.

    `user_id` and `role` say who sent it; that the sender may was checked. `node` names the node that took it.
    `data`: a TaskStart's for `task_start`; `input` (text) for `task_input`; `confirmation_id` (text) and `approved`
    (bool) for `task_confirm`; empty for the others. Fields that a later minor version adds are ignored.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    id: Id
    command: CommandName
    task_id: Id
    project_id: Id | None = None
    user_id: Annotated[str, Field(min_length=1)]
    role: str | None = None
    deadline: Timestamp
    node: str
    data: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_data(self) -> "Command":
        match self.command:
            case CommandName.START:
                try:
                    TaskStart.model_validate(self.data)
                except ValidationError as error:
                    first = field_errors(error)[0]
                    raise PydanticCustomError(
                        "command",
                        "task_start: data.{field}: {detail}",
                        {"field": first.field, "detail": first.detail},
                    ) from error
                return self
            case CommandName.INPUT if not isinstance(self.data.get("input"), str):
                raise PydanticCustomError("command", "task_input needs data.input, a text")
            case CommandName.CONFIRM if not (
                isinstance(self.data.get("confirmation_id"), str) and isinstance(self.data.get("approved"), bool)
            ):
                raise PydanticCustomError("command", "task_confirm needs data.confirmation_id and data.approved")
            case _:
                return self

    @field_serializer("deadline")
    def _deadline_text(self, value: datetime) -> str:
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(command: Command) -> NewRecord:
    """The record that carries `command`."""
    return NewRecord(
        command.task_id.encode(),
        command.model_dump_json().encode(),
        (
            (HEADER_VERSION, VERSION),
            (HEADER_ID, command.id.encode()),
            (HEADER_TYPE, command.command.value.encode()),
        ),
    )


def decode(value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> Command:
    """The command of a record. Raises UnreadableCommand, which says why."""
    version = dict(headers).get(HEADER_VERSION)
    if version != VERSION:
        raise UnreadableCommand(f"record version {version!r} is not known here, only {VERSION!r} is")
    if value is None:
        raise UnreadableCommand("the record has no value")
    try:
        return Command.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "command"
        raise UnreadableCommand(f"{field}: {first['msg']}") from error
