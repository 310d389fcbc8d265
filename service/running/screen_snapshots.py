"""When the screen of a task is told: often enough that who joins late has little more to read than a screen."""

import logging
from typing import Final

from service.running.screen import Screen, Snapshot

INTERVAL_BYTES: Final = 64 * 1024
"""Of output between two snapshots."""
LEAST_SHARE: Final = 4
"""And so many times as much as the last snapshot took: of a log full of pictures, screens are a fifth."""

_log: Final = logging.getLogger(__name__)


class ScreenSnapshots:
    """A `ScreenKeeper`: follows the screen of a terminal and gives a snapshot every 64 KiB.

    A screen that shows the same again is told all the same: whoever joins begins to read at the snapshot's offset.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self._screen: Screen | None = Screen(columns, rows)
        self._due_at = INTERVAL_BYTES

    def feed(self, data: bytes, offset: int) -> None:
        """Take the next bytes of the stream, the first of them at `offset`."""
        if self._screen is None:
            return
        if offset != self._screen.offset:
            raise ValueError(f"the screen goes on at {self._screen.offset}, not at {offset}")
        try:
            self._screen.feed(data)
        except BaseException as error:
            # The terminal is native code; what it raises where it gives up is no Exception. Its task goes on.
            if type(error).__name__ != "PanicException":
                raise
            _log.error("the screen can't be followed any further, behind offset %d: %s", offset, error)
            self._screen = None

    def due(self) -> Snapshot | None:
        """A snapshot, where one is to be published behind what was fed."""
        if self._screen is None or self._screen.offset < self._due_at:
            return None
        snapshot = self._screen.snapshot()
        size = len(snapshot.text) if snapshot else 0
        self._due_at = self._screen.offset + max(INTERVAL_BYTES, LEAST_SHARE * size)
        return snapshot
