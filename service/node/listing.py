"""The projects and tasks that a caller may read, as this node knows them at its head."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from lastseen.names import Role
from lastseen.task_state import TaskState

from service.domain.identity import Identity
from service.domain.rights import Project
from service.domain.tasks import Task
from service.node.rights import KnownRights
from service.ports import Access

T = TypeVar("T")

_STEP: Final = 2_000
"""Projects or tasks that are looked at in one step of the event loop: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class ListedProject:
    """A project that is not deleted. `role` is the caller's by the log; `running`: its tasks that have not ended."""

    project: Project
    role: Role | None
    members: int
    running: int


class Listing:
    """Looks through what the rights hold: no server is asked, and what this node has forgotten is not found."""

    def __init__(self, known: KnownRights, access: Access) -> None:
        self._known = known
        self._access = access

    async def projects(self, identity: Identity, after: str, limit: int) -> Sequence[ListedProject]:
        """The first so many projects that `identity` may read and whose ids come after that one, by their ids."""
        rights = self._known.rights
        found = []
        for some in _steps(rights.projects()):
            found += [
                project
                for project in some
                if project.id > after
                and not project.deleted
                and self._access.still_may(identity, f"project:{project.id}")
            ]
            await asyncio.sleep(0)
        shown = heapq.nsmallest(limit, found, key=lambda project: project.id)
        running = await self._running({project.id for project in shown})
        return [
            ListedProject(
                project,
                rights.role_of(project.id, identity.user_id),
                sum(member.role is not None for member in rights.members(project.id)),
                running[project.id],
            )
            for project in shown
        ]

    async def tasks(
        self, identity: Identity, project: str | None, states: Sequence[TaskState], limit: int
    ) -> Sequence[Task]:
        """So many tasks that `identity` may read, the one that began last first.

        Of that project, where one is named, and in one of those states, where some are.
        """
        found: list[Task] = []
        for some in _steps(self._known.rights.tasks()):
            found += [
                task
                for task in some
                if (project is None or task.project == project)
                and (not states or task.state in states)
                and self._access.still_may(identity, f"task:{task.id}")
            ]
            await asyncio.sleep(0)
        return heapq.nlargest(limit, found, key=lambda task: (task.fixed_by.appended_at, task.id))

    async def _running(self, projects: set[str]) -> Counter[str]:
        running: Counter[str] = Counter()
        for some in _steps(self._known.rights.tasks()):
            running.update(task.project for task in some if task.project in projects and not task.ended)
            await asyncio.sleep(0)
        return running


def _steps(things: Sequence[T]) -> Iterator[Iterable[T]]:
    for at in range(0, len(things), _STEP):
        yield things[at : at + _STEP]
