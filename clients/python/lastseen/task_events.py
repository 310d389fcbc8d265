"""The events of a task that a program is, in the order in which they are published."""

import signal as signals
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from lastseen.chunks import Chunk
from lastseen.envelope import Event
from lastseen.names import Category

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
SIGNAL_BASE: Final = 128
"""A program ended by signal n has the exit code 128 + n, as shells count."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `signal` is the name of what killed it, `reason` a short stable word."""

    exit_code: int
    reason: str
    signal: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the task counts as completed."""
        return self.exit_code == 0

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

    def started(self, command: Sequence[str], cwd: str) -> Event:
        """The first event."""
        return self._event("task_started", {"command": list(command), "cwd": cwd})

    def running(self, pid: int) -> Event:
        """The program runs."""
        return self._event("task_status_change", {"status": "running", "previous": "pending", "pid": pid})

    def output(self, chunk: Chunk) -> Event:
        """A piece of what it wrote."""
        return self._event("task_output", chunk.to_data())

    def ended(self, outcome: Outcome, previous: str) -> tuple[Event, Event]:
        """The last two: what comes after the second is void."""
        status = "completed" if outcome.succeeded else "failed"
        data: dict[str, JsonValue] = {"exit_code": outcome.exit_code}
        if not outcome.succeeded:
            data["reason"] = outcome.reason
        if outcome.signal is not None:
            data["signal"] = outcome.signal
        return (
            self._event("task_status_change", {"status": status, "previous": previous}),
            self._event(f"task_{status}", data),
        )

    def _event(self, type_: str, data: dict[str, JsonValue]) -> Event:
        return Event(
            type=type_,
            category=Category.TASK,
            task_id=self.task,
            project_id=self.project,
            user_id=self.user,
            data=data,
        )
