"""How tasks began: where in the log, and by which start."""

from lastseen.positions import EARLIEST, Position

from service.domain.task_starts import FIRST_EVENTS, Beginning, beginning_of
from service.domain.tasks import Task
from service.domain.window import Window
from service.node.event_history import EventHistory
from service.node.head import Head
from service.node.past import Range, Wanted
from service.node.rights import KnownRights
from service.ports import Epoch


class TaskBeginnings:
    """Looks beginnings up. Every call raises Unavailable where it can't be told now."""

    def __init__(self, rights: KnownRights, history: EventHistory, window: Window, head: Head, epoch: Epoch) -> None:
        self._rights = rights
        self._history = history
        self._window = window
        self._head = head
        self._epoch = epoch

    async def of(self, task: str) -> Beginning:
        """How a task began that the log tells of."""
        known = await self._rights.find(task)
        if known is None:
            return Beginning(None, may_follow=True)
        wanted = Wanted((f"task:{task}",))
        page = await self._history.forward(wanted, Range(after=self.position_before(known)), FIRST_EVENTS)
        return beginning_of(page.records)

    @property
    def head(self) -> Position:
        """Up to where this node has read."""
        return Position(self._head.epoch, self._window.heads())

    def position_before(self, task: Task) -> Position:
        """A position behind which everything of the task comes."""
        first = task.fixed_by
        if first.epoch != self._epoch.number:
            # Of another topic, or from when the topic had fewer partitions.
            return EARLIEST
        # Its events have one key, and so one partition.
        return Position(self._head.epoch, {**self._window.heads(), first.partition: first.offset - 1})
