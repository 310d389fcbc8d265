"""The in-memory twin of the durable cursors."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from lastseen.positions import Position

from service.domain.cursors import moved
from service.domain.errors import HistoryUnavailable
from service.ports import Cursor, CursorKey


class MemoryCursors:
    """`Cursors` in memory; `epochs` are their names, the first one first, `rest` is how long one may rest.

    While `available` is false every call raises HistoryUnavailable.
    """

    def __init__(self, most_of_a_user: int = 100, epochs: Sequence[str] = (), rest: timedelta | None = None) -> None:
        self._most = most_of_a_user
        self._rest = rest
        self._numbers = {name: number for number, name in enumerate(epochs, 1)}
        self._cursors: dict[CursorKey, Cursor] = {}
        self.available = True

    def make_older(self, key: CursorKey, by: timedelta) -> None:
        """Let a cursor have rested longer."""
        cursor = self._cursors[key]
        expires_at = None if cursor.expires_at is None else cursor.expires_at - by
        self._cursors[key] = cursor._replace(moved_at=cursor.moved_at - by, expires_at=expires_at)

    async def find(self, key: CursorKey) -> Position | None:
        self._check()
        found = self._cursors.get(key)
        return None if found is None else found.position

    async def move(self, moves: Mapping[CursorKey, Position]) -> Mapping[CursorKey, Position]:
        self._check()
        now = {}
        for key, position in moves.items():
            stored = self._cursors.get(key)
            now[key] = moved(None if stored is None else stored.position, position, self._numbers)
            if stored is None or stored.position != now[key]:
                # The dictionary has them in the order of their last move.
                self._cursors.pop(key, None)
                moved_at = datetime.now(UTC)
                expires_at = None if self._rest is None else moved_at + self._rest
                self._cursors[key] = Cursor(key.client_id, now[key], moved_at, expires_at)
        for user in {key.user_id for key in moves}:
            for key in [key for key in self._cursors if key.user_id == user][: -self._most]:
                del self._cursors[key]
        return now

    async def of_user(self, user_id: str) -> Sequence[Cursor]:
        self._check()
        mine = [cursor for key, cursor in self._cursors.items() if key.user_id == user_id]
        return sorted(mine, key=lambda cursor: cursor.client_id)

    async def delete(self, key: CursorKey) -> bool:
        self._check()
        return self._cursors.pop(key, None) is not None

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("the cursors were made unavailable")
        now = datetime.now(UTC)
        for key, cursor in list(self._cursors.items()):
            if cursor.expires_at is not None and cursor.expires_at <= now:
                del self._cursors[key]
