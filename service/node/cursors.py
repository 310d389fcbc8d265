"""Moving durable cursors: what many connections acknowledge goes to the database together."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from lastseen.positions import Position

from service.domain.cursors import moved
from service.domain.errors import HistoryUnavailable, Unavailable
from service.ports import Cursor, CursorKey, Cursors

_log = logging.getLogger(__name__)
_BATCH: Final = 1_000
_WAITING: Final = 100_000
"""Moves that may wait while the database is away; beyond, the oldest is dropped: its messages come once more."""
_SETTLED: Final = 100_000
"""Cursors of which is known where they were moved last, so that they are not moved there again."""
_SETTLED_SECONDS: Final = 3_600.0
"""For so long: one that somebody has deleted elsewhere is there again, and one that does not move is not forgotten."""
_RETRY_SECONDS: Final = 5.0
_STORE_SECONDS: Final = 2.0


class CursorKeeper:
    """Writes moves behind the connections, one batch after the other; `run` is its task."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors
        self._waiting: dict[CursorKey, Position] = {}
        self._settled: dict[CursorKey, Position] = {}
        self._settled_since = 0.0
        self._has_work = asyncio.Event()
        # Who waits for a move to be durable.
        self._asking: dict[CursorKey, list[asyncio.Future[Position]]] = {}

    async def find(self, key: CursorKey) -> Position | None:
        """Where a cursor stands, what waits here included. Raises HistoryUnavailable."""
        stored = await self._cursors.find(key)
        waiting = self._waiting.get(key)
        return stored if waiting is None else moved(stored, waiting)

    def move(self, key: CursorKey, position: Position) -> None:
        """Move a cursor soon, unless that is where it was moved last: clients answer each ping, whatever has come."""
        if self._settled.get(key) is not position or key in self._waiting:
            self._move(key, position)

    def _move(self, key: CursorKey, position: Position) -> None:
        waiting = self._waiting.pop(key, None)
        if len(self._waiting) >= _WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[key] = moved(waiting, position)
        self._has_work.set()

    async def store(self, key: CursorKey, position: Position) -> Position:
        """Move a cursor and say where it stands once that is durable.

        Raises HistoryUnavailable where that takes too long; it is moved all the same when the database is back.
        """
        self._move(key, position)
        waiting: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        asking = self._asking.setdefault(key, [])
        asking.append(waiting)
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                return await waiting
        except TimeoutError:
            raise HistoryUnavailable("the cursor is not stored yet, and will be when Postgres answers") from None
        finally:
            asking.remove(waiting)
            if not asking and self._asking.get(key) is asking:
                del self._asking[key]

    async def of_user(self, user_id: str) -> Sequence[Cursor]:
        """A user's cursors, what waits here written before. Raises HistoryUnavailable."""
        batch = {key: position for key, position in self._waiting.items() if key.user_id == user_id}
        if batch:
            await self._cursors.move(batch)
            self._written(batch)
        return await self._cursors.of_user(user_id)

    async def delete(self, key: CursorKey) -> bool:
        """Forget a cursor, what waits for it here included; whether there was one. Raises HistoryUnavailable."""
        waited = self._waiting.get(key)
        deleted = await self._cursors.delete(key)
        if waited is not None:
            self._written({key: waited})
        self._settled.pop(key, None)
        return deleted or waited is not None

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        retry = 0.1
        while True:
            await self._has_work.wait()
            batch = dict(list(self._waiting.items())[:_BATCH])
            try:
                moved_to = await self._cursors.move(batch)
                retry = 0.1
            except Unavailable as error:
                _log.warning("%d cursors wait, moving them in %.1f s: %s", len(self._waiting), retry, error)
                await asyncio.sleep(retry)
                retry = min(retry * 2, _RETRY_SECONDS)
                continue
            self._written(batch)
            self._tell(moved_to)

    def _written(self, batch: dict[CursorKey, Position]) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._settled) > _SETTLED or now - self._settled_since > _SETTLED_SECONDS:
            self._settled, self._settled_since = {}, now
        for key, position in batch.items():
            self._settled[key] = position
            # One that has moved on meanwhile is written again.
            if self._waiting.get(key) is position:
                del self._waiting[key]
        if not self._waiting:
            self._has_work.clear()

    def _tell(self, moved_to: Mapping[CursorKey, Position]) -> None:
        for key, position in moved_to.items():
            for waiting in self._asking.get(key, ()):
                if not waiting.done():
                    waiting.set_result(position)

    async def flush(self) -> None:
        """Write what waits now, if the database answers."""
        if self._waiting:
            batch = dict(self._waiting)
            try:
                await self._cursors.move(batch)
            except Unavailable as error:
                _log.warning("%d cursors could not be moved, their messages come once more: %s", len(batch), error)
            else:
                self._written(batch)
