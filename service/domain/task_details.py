"""What a task's state needs of its events beside its rights: found from the newest one back."""

from collections.abc import Mapping
from typing import Any, Final

from lastseen.names import TASK_STATE_TYPES, TERMINAL_TYPES
from lastseen.task_state import TaskState, state_after

from service.domain.records import Record
from service.domain.rights import fields_of, ids_of
from service.domain.stamps import Stamp
from service.domain.tasks import Task

_PROGRESS: Final = "task_progress_update"
_CONFIRMATION: Final = "task_confirmation_required"
_TELLING: Final = TASK_STATE_TYPES - {"task_screen"}

Data = Mapping[str, Any]


class TaskDetails:
    """Takes the records of a task's channel, newest first, from its end or else from the head, down to its first.

    It gives what `lastseen.task_state.TaskView` gives of the same records read forward, and needs far fewer.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        # A start that came after the end changes nothing, and what was before it is not of its run.
        self._missing = {_PROGRESS} if self.first == task.fixed_by else set()
        if task.state is TaskState.WAITING:
            self._missing.add(_CONFIRMATION)
        if task.ended:
            self._missing |= TERMINAL_TYPES
        self.progress: Data | None = None
        self.confirmation: Data | None = None
        self.result: Data | None = None

    @property
    def first(self) -> Stamp:
        """The oldest record that may say something."""
        fixed, changed = self._task.fixed_by, self._task.changed_by
        return changed if self._task.ended and changed is not None and fixed.is_after(changed) else fixed

    @property
    def types(self) -> frozenset[str]:
        """The types that it needs to be given."""
        return _TELLING if _CONFIRMATION in self._missing else frozenset(self._missing)

    @property
    def is_complete(self) -> bool:
        """Whether older records would say no more."""
        return not self._missing

    def take(self, record: Record) -> None:
        """The next older one."""
        _, project, _ = ids_of(record.channels)
        if project != self._task.project:
            return
        if record.type == _PROGRESS and _PROGRESS in self._missing:
            self.progress = _data(record)
            self._missing.discard(_PROGRESS)
        elif record.type in TERMINAL_TYPES & self._missing:
            # Of several ends the first counts, which is where the reading begins.
            self.result = _data(record)
            self._missing -= TERMINAL_TYPES
        elif _CONFIRMATION in self._missing and (state := state_after(record.type, _data(record))) is not None:
            if record.type == _CONFIRMATION:
                self.confirmation = _data(record)
            if record.type == _CONFIRMATION or state is not TaskState.WAITING:
                self._missing.discard(_CONFIRMATION)


def _data(record: Record) -> Data:
    return fields_of(record)[1]
