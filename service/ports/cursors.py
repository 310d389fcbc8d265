"""Durable cursors of clients."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from lastseen.positions import Position


class CursorKey(NamedTuple):
    """Whose durable cursor: a client's of a user; the empty name is that of all clients without one."""

    user_id: str
    client_id: str


class Cursor(NamedTuple):
    """A durable cursor: up to where a client has acknowledged its user's channel."""

    client_id: str
    position: Position
    moved_at: datetime
    expires_at: datetime | None = None
    """When it is forgotten, unless it moves; None where that never happens."""


class Cursors(Protocol):
    """The durable cursors. Every call raises HistoryUnavailable while the database does not answer.

    One that has rested for as long as a deployment says is forgotten: from then on it is as if there were none.
    """

    async def find(self, key: CursorKey) -> Position | None:
        """Where the cursor stands, or None where there is none."""
        ...

    async def move(self, moves: Mapping[CursorKey, Position]) -> Mapping[CursorKey, Position]:
        """Move cursors and say where they stand now: none is lowered (`domain.cursors.moved`).

        A user has at most 100: a further one takes the place of the one that has rested longest.
        """
        ...

    async def of_user(self, user_id: str) -> Sequence[Cursor]:
        """A user's cursors, by the names of their clients."""
        ...

    async def delete(self, key: CursorKey) -> bool:
        """Forget a cursor; whether there was one."""
        ...
