"""The state of a task or a project as of a position: what a client reloads after a gap.

The rights that this node has folded from its tail say most of it, at the head and at no other place; the events
that they don't keep are looked for from there back, in the history. Nothing above the position is in the answer,
so who subscribes `after` it has everything once.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from lastseen.names import PROJECT_STATE_TYPES

from service.domain.errors import Unavailable
from service.domain.rights import Member, Project, fields_of
from service.domain.stamps import Stamp
from service.domain.task_details import TaskDetails
from service.domain.tasks import Task
from service.domain.window import Window
from service.node.event_history import EventHistory
from service.node.head import Head
from service.node.past import Wanted
from service.node.rights import KnownRights
from service.node.task_screens import TaskScreens
from service.ports import Access, Epoch


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """A task as of a position (a token)."""

    task: Task
    details: TaskDetails
    position: str
    screen: Mapping[str, Any] | None = None
    """Of its terminal, as the `data` of a `task_screen`."""


@dataclass(frozen=True, slots=True)
class ProjectAnswer:
    """A project as of a position (a token). One that was deleted has neither members nor data."""

    project: Project
    members: tuple[Member, ...]
    """Those that have a role, the longest there first."""
    data: Mapping[str, Any] | None
    """Of its newest `project_created`, `project_updated` or `project_config_changed`."""
    position: str


class States:
    """Reads states. Every call raises Unavailable where it can't be told now."""

    def __init__(
        self,
        rights: KnownRights,
        access: Access,
        head: Head,
        window: Window,
        history: EventHistory,
        screens: TaskScreens,
        epoch: Epoch,
        settle_seconds: float,
    ) -> None:
        self._rights = rights
        self._access = access
        self._head = head
        self._window = window
        self._history = history
        self._screens = screens
        self._epoch = epoch
        self._settle_seconds = settle_seconds

    async def task(self, task_id: str) -> TaskAnswer | None:
        """A task, or None for one without events. What was acknowledged before the call is in it, as in pages."""
        await self._history.settle()
        task = await self._find(task_id)
        if task is None:
            return None
        # One step of the event loop: rights and head are of the same place.
        position, top = self._head.token, self._window.heads()
        details = TaskDetails(task)
        if task.ended and task.changed_by is not None:
            top = self._upto(top, task.changed_by)
        wanted = Wanted((f"task:{task_id}",), details.types, self._access.contradicts)
        async with aclosing(self._history.descend(wanted, *self._within(top, details.first))) as records:
            async for record in records:
                details.take(record)
                if details.is_complete:
                    break
        screen: Mapping[str, Any] | None = None
        if task.started and details.first == task.fixed_by:
            within = self._within(top, task.fixed_by)
            screen = await self._screens.of(task, self._access.contradicts, *within)
        return TaskAnswer(task, details, position, screen)

    async def project(self, project_id: str) -> ProjectAnswer | None:
        """A project, or None where the log has not begun it."""
        await self._history.settle()
        rights = self._rights.rights
        project = rights.project(project_id)
        if project is None:
            return None
        members = [member for member in rights.members(project_id) if member.role is not None]
        position, top = self._head.token, self._window.heads()
        data: Mapping[str, Any] | None = None
        if not project.deleted:
            wanted = Wanted((f"project:{project_id}",), PROJECT_STATE_TYPES)
            async with aclosing(self._history.descend(wanted, *self._within(top, project.since))) as records:
                async for record in records:
                    _, data = fields_of(record)
                    break
        members.sort(key=lambda member: (*member.since, member.user))
        return ProjectAnswer(project, tuple(members), data, position)

    async def _find(self, task_id: str) -> Task | None:
        """What is known of a task at this node's head. The projection, if it was asked, may be ahead of that."""
        try:
            async with asyncio.timeout(self._settle_seconds):
                while (task := await self._rights.find(task_id)) is not None:
                    said = (task.fixed_by, task.changed_by)
                    read = [s for s in said if s is not None and s.epoch == self._epoch.first_of_topic]
                    above = {s.partition: s.offset for s in read if s.offset >= self._window.next(s.partition)}
                    if not above:
                        return task
                    await self._head.passed(above)
                return None
        except TimeoutError:
            raise Unavailable("this node is behind what is known of the task: try again") from None

    def _upto(self, top: Mapping[int, int], end: Stamp) -> dict[int, int]:
        """`top`, but in the partition of the task's end no further than that."""
        return {**top, end.partition: end.offset} if end.epoch == self._epoch.first_of_topic else dict(top)

    def _within(self, top: Mapping[int, int], first: Stamp) -> tuple[dict[int, int], dict[int, int]]:
        """Top and bottom of what may hold events of what began at `first`."""
        if first.epoch == self._epoch.number:
            # A key has one partition, as long as there are no more of them.
            return {first.partition: top[first.partition]}, {first.partition: first.offset}
        return dict(top), dict.fromkeys(top, 0)
