"""Offline messages: where the delivery of what came to a user while away begins."""

from collections.abc import Mapping
from typing import NamedTuple

from lastseen.positions import Position

from service.domain.cursors import OFFLINE_MS
from service.domain.subscriptions import Offline
from service.domain.window import Window
from service.node.cursors import CursorKeeper
from service.node.head import Head
from service.node.replay import Beginning, Replay
from service.ports import Clock, CursorKey, History


class OfflineStart(NamedTuple):
    """From where, and what of it is left out."""

    beginning: Beginning
    offline: Offline


class OfflineMessages:
    """Finds out what a user's channel owes a client that comes without a position."""

    def __init__(
        self, cursors: CursorKeeper, replay: Replay, history: History, window: Window, head: Head, clock: Clock
    ) -> None:
        self._cursors = cursors
        self._replay = replay
        self._history = history
        self._window = window
        self._head = head
        self._clock = clock

    async def begin(self, key: CursorKey) -> OfflineStart:
        """Where to begin: at the client's cursor, at most 7 days back.

        Raises HistoryUnavailable, LogUnavailable where that can't be told now.
        """
        since_ms = self._clock.now_ms() - OFFLINE_MS
        stored = await self._cursors.find(key)
        if stored is not None and stored.epoch != self._head.epoch:
            # The replay says that something is missing; all of this epoch is newer than the cursor.
            beginning = await self._replay.begin(stored)
        else:
            start = Position(self._head.epoch, await self._floor(since_ms))
            beginning = await self._replay.begin(start if stored is None else stored.raised(start))
        # The head of now: what comes after it is delivered whatever its type.
        return OfflineStart(beginning, Offline(f"user:{key.user_id}", self._window.heads(), since_ms))

    async def _floor(self, since_ms: int) -> Mapping[int, int]:
        """A position: whatever lies at or below it was appended before `since_ms`, or is held no more."""
        if all(self._window.first(partition) == 0 for partition in self._window.partitions):
            return {}  # the window holds everything, and each record says its time
        coverage = await self._history.coverage()
        found = await self._history.offsets_at(since_ms)
        return {p: found.get(p, held.next) - 1 for p, held in coverage.items()}
