"""What a `task_start` asks for: the program that is to run as a task, and how."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt, StringConstraints, model_validator
from pydantic_core import PydanticCustomError, to_json

MAX_ARGUMENTS: Final = 256
MAX_ENV: Final = 256
MAX_COMMAND_BYTES: Final = 128 * 1024
"""Of all arguments, as JSON: they stand in the task's first event."""
MAX_ENV_BYTES: Final = 64 * 1024
"""Of all names and values, as JSON."""
MAX_TIMEOUT_SECONDS: Final = 366 * 86_400
MAX_COLUMNS: Final = 500
MAX_ROWS: Final = 200

ENV_NAME_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
ADAPTER_PATTERN: Final = r"^[a-z][a-z0-9_-]{0,63}$"

EnvName = Annotated[str, StringConstraints(pattern=ENV_NAME_PATTERN)]


class TaskStart(BaseModel):
    """The `data` of a `task_start`. Fields that a later minor version adds are ignored.

    `command` is the program and its arguments: no shell reads them. `env` is set beside what the runner gives its
    programs, and `cwd` is where the program runs (None: where the runner's programs run). After `timeout_seconds`
    it is ended. With `pty` its terminal has `columns` and `rows`, and takes input; without, `input` keeps its stdin
    open for it. `adapter` names what understands its output.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    command: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_ARGUMENTS)]
    env: Annotated[dict[EnvName, str], Field(max_length=MAX_ENV)] = Field(default_factory=dict)
    cwd: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=MAX_TIMEOUT_SECONDS)] | None = None
    pty: StrictBool = False
    columns: Annotated[StrictInt, Field(ge=1, le=MAX_COLUMNS)] = 80
    rows: Annotated[StrictInt, Field(ge=1, le=MAX_ROWS)] = 24
    input: StrictBool = False
    adapter: Annotated[str, Field(pattern=ADAPTER_PATTERN)] = "plain"

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if not self.command[0]:
            raise _error("command.0", "the first argument is the program: it can't be empty")
        for index, argument in enumerate(self.command):
            _check_nul(f"command.{index}", argument)
        for name, value in self.env.items():
            _check_nul(f"env.{name}", value)
        _check_nul("cwd", self.cwd or "")
        for field, given, most in (
            ("command", self.command, MAX_COMMAND_BYTES),
            ("env", self.env, MAX_ENV_BYTES),
        ):
            if len(to_json(given)) > most:
                raise _error(field, f"{field} is at most {most} bytes of JSON: put more into a file, or into its input")
        return self

    def to_data(self) -> dict[str, JsonValue]:
        """The `data` of the command: every field, so that the same start always looks the same."""
        data: dict[str, JsonValue] = self.model_dump(mode="json", include=set(TaskStart.model_fields))
        return data


def _check_nul(field: str, text: str) -> None:
    if "\0" in text:
        raise _error(field, f"{field} holds a NUL character (U+0000), which no program can be given")


def _error(field: str, message: str) -> Exception:
    return PydanticCustomError("envelope", "{message}", {"field": field, "message": message})
