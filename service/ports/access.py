"""Who somebody is, and what they may do."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.domain.records import Record
from service.domain.rights import Change


class Authenticator(Protocol):
    """Tells who a caller is."""

    async def identify(self, token: str) -> Identity:
        """Who the token names. Raises Denied, saying what is wrong with it and never quoting it."""
        ...


@runtime_checkable
class IdentifiesAtOnce(Protocol):
    """What an `Authenticator` may have besides."""

    def identify_at_once(self, token: str) -> Identity | None:
        """As `Authenticator.identify`; None where something has to be awaited for that."""
        ...


Verdict = bool | Unavailable
"""Whether somebody may, or why that can't be told now."""


class Access(Protocol):
    """Who may do what. A deployment with an authority of its own fulfils this port."""

    async def judge(self, identity: Identity, names: Sequence[str]) -> dict[str, Verdict]:
        """Whether `identity` may read each of the channels; a name that is no channel is denied.

        A denial is final: it counts everything that the log held when it was asked.
        """
        ...

    async def may_execute(self, identity: Identity, task_id: str) -> Verdict:
        """Whether `identity` may send commands to the task; as final as `judge`."""
        ...

    async def may_start(self, identity: Identity, project_id: str) -> Verdict:
        """Whether `identity` may start tasks in the project; as final as `judge`."""
        ...

    def still_may(self, identity: Identity, name: str) -> bool:
        """Whether a channel that was granted may still be read, by what is known here at this moment."""
        ...

    def contradicts(self, record: Record) -> bool:
        """Whether a record claims another project or owner for its task than the task has: not for its readers."""
        ...

    def note(self, record: Record) -> Change | None:
        """Learn from a record that is not void; what has to be judged again because of it. Never waits or raises."""
        ...


@runtime_checkable
class JudgesAtOnce(Protocol):
    """What an `Access` may have besides, so that a crowd is let in without waiting for anything."""

    def surely_may(self, identity: Identity, names: Sequence[str]) -> bool:
        """Whether `judge` would grant all of these, having to ask nobody; False says nothing."""
        ...


class TokenIssuer(Protocol):
    """Signs access tokens that this deployment's nodes accept."""

    def issue(self, identity: Identity) -> str:
        """A token that says all that `identity` does, its expiry included."""
        ...
