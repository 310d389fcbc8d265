"""The part of the settings that only runners heed."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import from_json
from pydantic_settings import BaseSettings, NoDecode


class RunnerSettings(BaseSettings):
    """As `Settings`, which they are part of."""

    allow: Annotated[tuple[str, ...], NoDecode] = ()
    """JSON array of patterns of commands that may be started for others (`domain.allowed`); none: nothing may."""
    allow_env: Annotated[tuple[str, ...], NoDecode] = ()
    """Names (`A,B,…`) of environment variables that a start may set."""
    work_root: Path | None = None
    """The folder below which programs are started; unset: a start can't name one, and gets the runner's own."""
    redact: Annotated[tuple[str, ...], NoDecode] = ()
    """JSON array of regular expressions: what they match in a program's output is masked before anybody sees it."""
    runner_tasks: int = Field(default=32, ge=1, le=1_000)
    """Tasks that a runner holds at once."""
    runner_lease_seconds: float = Field(default=10.0, ge=0.5)
    """For how long the other runners have to see no sign of life (five come in that time) before one is lost."""
    runner_drain: Literal["finish", "cancel"] = "finish"
    """What a runner that is told to end does with its tasks."""
    runner_drain_seconds: float = Field(default=60.0, ge=0)
    """How long it lets them finish before it cancels them."""
    interrupt_seconds: float = Field(default=5.0, ge=0)
    """How long a program that is cancelled may take to end after SIGINT, before it gets SIGTERM."""
    terminate_seconds: float = Field(default=5.0, ge=0)
    """How long after that, before it and all that belongs to it is killed."""

    @field_validator("allow", "redact", mode="before")
    @classmethod
    def _read_texts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            read = from_json(value)
        except ValueError:
            read = None
        if not (isinstance(read, list) and all(isinstance(text, str) and text for text in read)):
            raise ValueError('has to look like ["git log *", …], a JSON array of texts')
        return tuple(read)

    @field_validator("allow_env", mode="before")
    @classmethod
    def _read_names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @field_validator("work_root")
    @classmethod
    def _check_work_root(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError("has to be an absolute path")
        return value
