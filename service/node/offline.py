"""Offline messages: where the delivery of what came to a user while away begins."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from lastseen.positions import Position

from service.domain.cursors import OFFLINE_MS
from service.domain.subscriptions import Offline
from service.domain.window import Window
from service.node.cursors import CursorKeeper
from service.node.head import Head
from service.node.past import offsets_at
from service.node.patience import Patience
from service.node.replay import Beginning, Replay
from service.node.sources import Sources
from service.ports import Clock, CursorKey

_SECONDS: Final = 2.0
"""How long the greeting may wait for it."""
_KEPT_MS: Final = 60_000
"""How long it is remembered where the 7 days begin: a little too early does no harm, each record says its time."""


class OfflineStart(NamedTuple):
    """From where, and what of it is left out."""

    beginning: Beginning
    offline: Offline


class OfflineMessages:
    """Finds out what a user's channel owes a client that comes without a position."""

    def __init__(
        self,
        cursors: CursorKeeper,
        replay: Replay,
        sources: Sources,
        window: Window,
        head: Head,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._patience = patience
        self._cursors = cursors
        self._replay = replay
        self._sources = sources
        self._window = window
        self._head = head
        self._clock = clock
        self._floor: Mapping[int, int] = {}
        self._floor_ms = 0

    async def begin(self, key: CursorKey) -> OfflineStart:
        """Where to begin: at the client's cursor, at most 7 days back.

        Raises HistoryUnavailable, LogUnavailable where that can't be told now, or not soon.
        """
        return await self._patience.within(_SECONDS, self._begin(key))

    async def _begin(self, key: CursorKey) -> OfflineStart:
        since_ms = self._clock.now_ms() - OFFLINE_MS
        stored = await self._cursors.find(key)
        if stored is not None and stored.epoch != self._head.epoch:
            # The replay says that something is missing; all of this epoch is newer than the cursor.
            beginning = await self._replay.begin(stored)
        else:
            start = Position(self._head.epoch, await self._floor_at(since_ms))
            beginning = await self._replay.begin(start if stored is None else stored.raised(start))
        # The head of now: what comes after it is delivered whatever its type.
        return OfflineStart(beginning, Offline(f"user:{key.user_id}", self._window.heads(), since_ms))

    async def _floor_at(self, since_ms: int) -> Mapping[int, int]:
        """A position: whatever lies at or below it was appended before `since_ms`, or is held no more."""
        if all(self._window.first(partition) == 0 for partition in self._window.partitions):
            return {}  # the window holds everything, and each record says its time
        if not self._floor or since_ms - self._floor_ms > _KEPT_MS:
            heads = self._window.heads()
            found = await offsets_at(self._sources, since_ms, {p: head + 1 for p, head in heads.items()})
            self._floor = {p: heads[p] if offset is None else offset - 1 for p, offset in found.items()}
            self._floor_ms = since_ms
        return self._floor
