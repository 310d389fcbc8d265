"""Which runner holds which task."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Claim(NamedTuple):
    """That a runner runs a task: by whose command, and for which project and user."""

    task: str
    runner: str
    """The incarnation."""
    command: str
    """The id of the command that started it, which is its user's own."""
    user: str
    project: str | None = None


class Leases(Protocol):
    """The leases of the incarnations of runners, and the tasks that each has claimed.

    Nobody's clock decides: a lease is a number that rises while its incarnation lives, and whoever has seen the same
    number for too long says that it is lost (`domain.leases`). Every call raises HistoryUnavailable while the database
    does not answer; then it may have been done all the same, and may be repeated.
    """

    async def begin(self, runner: str, name: str) -> None:
        """A new incarnation lives; `name` is for people."""
        ...

    async def renew(self, runner: str) -> bool:
        """Raise its number; False where it was said to be lost, which it stays."""
        ...

    async def renewals(self) -> Mapping[str, int]:
        """The number of each incarnation that lives."""
        ...

    async def lose(self, runner: str, renewal: int) -> bool:
        """Say that it is lost, unless its number has risen; True for one caller alone."""
        ...

    async def leave(self, runner: str) -> None:
        """It has ended by itself: what it has not ended of its claims counts as a lost one's."""
        ...

    async def claim(self, claim: Claim) -> bool:
        """Whether the task is that runner's, by that command, from now on: it is the first one's that lives.

        A task is claimed once: one that has ended stays claimed, until it is swept.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """As if it had not been claimed; nothing must have been published of it."""
        ...

    async def end(self, claims: Sequence[Claim]) -> None:
        """These tasks have ended."""
        ...

    async def is_held(self, task: str) -> bool:
        """Whether an incarnation that lives has claimed the task, and has not ended it."""
        ...

    async def lost(self) -> Sequence[Claim]:
        """Some of the claims that have not ended and whose runners are lost; all, where they are not very many."""
        ...

    async def sweep(self, days: int) -> None:
        """Forget claims that ended, and incarnations that were lost, more than so many days ago."""
        ...
