"""The projection of rights that a node begins with."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from service.domain.rights import Member, Project
from service.domain.tasks import Task


class HeldRights(NamedTuple):
    """What the projection of rights holds, all of one moment."""

    next: Mapping[int, int]
    """Per partition the offset that it reads next; one that it has not begun is left out."""
    projects: Sequence[Project]
    members: Sequence[Member]
    tasks: Sequence[Task]
    """The newest, every claim of each."""
    others: Sequence[str] | None
    """The ids of all other tasks; None where they are too many."""


class HeldTask(NamedTuple):
    """What the projection holds of one task, and how far it had come."""

    claims: Sequence[Task]
    next: Mapping[int, int]


class RightsLoader(Protocol):
    """The projection of rights. Every call raises HistoryUnavailable while the database does not answer."""

    async def load(self, tasks: int) -> HeldRights:
        """All projects and members, and up to so many tasks."""
        ...

    async def task(self, task_id: str) -> HeldTask:
        """What is held of one task; no claims where there is none."""
        ...
