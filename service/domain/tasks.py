"""A task as the log tells of it, put together so that the order in which partitions are read does not matter.

Each record says a little; `joined` puts two such sayings about the same task and project together, and
gives the same whatever comes first and however often. Sayings about different projects are never mixed: the
one that `beats` the others is the task, the others are claims to its id that came to nothing.
"""

from functools import cmp_to_key
from typing import Final, NamedTuple

from lastseen.task_state import ENDED, TaskState

from service.domain.stamps import Stamp


class Task(NamedTuple):
    """A task, or what one record says of it."""

    id: str
    project: str | None
    user: str | None
    state: TaskState
    started: bool
    """Whether a `task_started` has fixed project and user for good; until then its first event has, for now."""
    fixed_by: Stamp
    """The record that said project and user."""
    changed_by: Stamp | None
    """The record that said the state; None where none has: it runs."""

    @property
    def ended(self) -> bool:
        """Whether it is over. It does not come back to life."""
        return self.state in ENDED


def beats(one: Task, other: Task) -> bool:
    """Whether `one` says project and user with more right: by a start, else by having come first."""
    if one.started is not other.started:
        return one.started
    return other.fixed_by.is_after(one.fixed_by)


def joined(one: Task, other: Task) -> Task:
    """What both say together; they are of the same task and project."""
    first = other if beats(other, one) else one
    said = other if _says_state_rather(other, one) else one
    if said is first:
        return first
    return first._replace(state=said.state, changed_by=said.changed_by)


def _says_state_rather(one: Task, other: Task) -> bool:
    """The first end, else the last state."""
    if one.changed_by is None or other.changed_by is None:
        return one.changed_by is not None
    if one.ended is not other.ended:
        return one.ended
    return other.changed_by.is_after(one.changed_by) if one.ended else one.changed_by.is_after(other.changed_by)


MOST_CLAIMS: Final = 4
"""Projects that one task's records are kept apart for; the claims with the least right are forgotten."""


def with_claim(claims: tuple[Task, ...], said: Task) -> tuple[Task, ...]:
    """The claims to one task, one a project and the best first, with one more saying."""
    others = [claim for claim in claims if claim.project != said.project]
    if len(others) < len(claims):
        said = joined(next(claim for claim in claims if claim.project == said.project), said)
    if not others:
        return (said,)
    return tuple(sorted([*others, said], key=_BEST_FIRST)[:MOST_CLAIMS])


def _order(one: Task, other: Task) -> int:
    return -1 if beats(one, other) else 1


_BEST_FIRST: Final = cmp_to_key(_order)
