"""The events of a task that a program is."""

import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import JsonValue

from lastseen.chunks import Chunk
from lastseen.commands import Command
from lastseen.envelope import Event
from lastseen.names import Category

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
SIGNAL_BASE: Final = 128
"""A program ended by signal n has the exit code 128 + n, as shells count."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `signal` is the name of what killed it, `reason` a short stable word.

    `stopped` says that it was ended from outside, however it took that; `by` is the user who wanted it.
    """

    exit_code: int
    reason: str
    signal: str | None = None
    stopped: Literal["cancelled", "timeout"] | None = None
    by: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the task counts as completed."""
        return self.exit_code == 0 and self.stopped is None

    @property
    def status(self) -> str:
        """The last status of the task."""
        return self.stopped or ("completed" if self.succeeded else "failed")

    @classmethod
    def of(cls, returncode: int) -> "Outcome":
        """From a return code as `subprocess` gives it: negative for a signal."""
        if returncode >= 0:
            return cls(returncode, "exit_code")
        try:
            name = signals.Signals(-returncode).name
        except ValueError:
            name = str(-returncode)
        return cls(SIGNAL_BASE - returncode, "signal", name)


@dataclass(frozen=True, slots=True)
class TaskEvents:
    """Makes the events of one task."""

    task: str
    project: str | None = None
    user: str | None = None

    def started(self, command: Sequence[str], cwd: str, more: Mapping[str, JsonValue] | None = None) -> Event:
        """The first event."""
        return self.said("task_started", {"command": list(command), "cwd": cwd, **(more or {})})

    def status(self, status: str, previous: str, more: Mapping[str, JsonValue] | None = None) -> Event:
        """Its state has changed."""
        return self.said("task_status_change", {"status": status, "previous": previous, **(more or {})})

    def output(self, chunk: Chunk, more: Mapping[str, JsonValue] | None = None) -> Event:
        """A piece of what it wrote; nothing of `more` replaces what the piece itself says."""
        return self.said("task_output", {**(more or {}), **chunk.to_data()})

    def receipt(self, command: Command, state: str, reason: str | None = None, node: str | None = None) -> Event:
        """What became of a command; `node` where only that node's command is meant."""
        data: dict[str, JsonValue] = {
            "command_id": command.id,
            "command": command.command.value,
            "by": command.user_id,
            "state": state,
        }
        if reason is not None:
            data["reason"] = reason
        if node is not None:
            data["node"] = node
        return self.said("task_command", data)

    def ended(self, outcome: Outcome, previous: str) -> tuple[Event, Event]:
        """The last two: what comes after the second is void."""
        data: dict[str, JsonValue] = {"exit_code": outcome.exit_code}
        if not outcome.succeeded:
            data["reason"] = outcome.reason
        if outcome.signal is not None:
            data["signal"] = outcome.signal
        if outcome.by is not None:
            data["by"] = outcome.by
        return self.status(outcome.status, previous), self.said(f"task_{outcome.status}", data)

    def said(self, type_: str, data: dict[str, JsonValue]) -> Event:
        """Any event of it."""
        return Event(
            type=type_,
            category=Category.TASK,
            task_id=self.task,
            project_id=self.project,
            user_id=self.user,
            data=data,
        )
