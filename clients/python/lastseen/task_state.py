"""A task's state: what its events say of it, as a fold that a reader goes on with from wherever he began.

    view = TaskView.of(await client.task("build"))      # as of a position
    async for event in client.subscribe("task:build", after=position):
        view = view.after(event)

gives what folding all events of the channel from the task's start gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self


class TaskState(StrEnum):
    """What a task does."""

    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"
    """For a confirmation."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


ENDED: Final = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.TIMEOUT})

STATE_AFTER: Final = {
    "task_resumed": TaskState.RUNNING,
    "task_paused": TaskState.PAUSED,
    "task_confirmation_required": TaskState.WAITING,
    "task_completed": TaskState.COMPLETED,
    "task_failed": TaskState.FAILED,
    "task_cancelled": TaskState.CANCELLED,
    "task_timeout": TaskState.TIMEOUT,
}
"""The state that an event of this type leaves a task in; others leave it as it was. It begins by running.

A start is not among them: were it, a second one, which counts for nothing, could take a pause back.
"""

STATES_TOLD: Final = {str(state): state for state in TaskState if state not in ENDED}
"""What `task_status_change` may say. Only a terminal event ends a task: what is void after it goes by that too."""


def state_after(type_: str, data: Mapping[str, Any]) -> TaskState | None:
    """The state that an event leaves its task in, while that has not ended; None: in the one that it was in."""
    if type_ != "task_status_change":
        return STATE_AFTER.get(type_)
    status = data.get("status")
    return STATES_TOLD.get(status) if isinstance(status, str) else None


@dataclass(frozen=True, slots=True)
class TaskView:
    """What the events of a task's channel have said so far."""

    project_id: str | None = None
    started: bool = False
    """Whether its `task_started` has come."""
    status: TaskState | None = None
    """None before the first event."""
    progress: Mapping[str, Any] | None = None
    """The `data` of its last `task_progress_update`."""
    confirmation: Mapping[str, Any] | None = None
    """The `data` of the `task_confirmation_required` that it waits for."""
    result: Mapping[str, Any] | None = None
    """The `data` of the event that ended it."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """The state that `GET /api/v1/tasks/{id}` answered with."""
        return cls(
            answer["project_id"],
            answer["started_at"] is not None,
            TaskState(answer["status"]),
            answer["progress"],
            answer["confirmation"],
            answer["result"],
        )

    def after(self, event: Mapping[str, Any]) -> Self:
        """The state behind the next event of the channel. What names another project says nothing of the task."""
        type_, project, data = event["type"], event.get("project_id"), event.get("data") or {}
        starts = type_ == "task_started" and not self.started
        view = self
        if self.status is None or (starts and project != self.project_id):
            view = type(self)(project, starts, TaskState.RUNNING)
        elif project != self.project_id:
            return self
        elif starts:
            # What came before the start is not of this run, but for what state it is in.
            view = replace(self, started=True, progress=None, confirmation=None)
        if view.status in ENDED:
            return view
        if type_ == "task_progress_update":
            view = replace(view, progress=data)
        state = state_after(type_, data)
        if state is None:
            return view
        asked = data if type_ == "task_confirmation_required" else view.confirmation
        return replace(
            view,
            status=state,
            confirmation=asked if state is TaskState.WAITING else None,
            result=data if state in ENDED else None,
        )
