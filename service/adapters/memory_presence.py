"""The in-memory twin of the presence topic: the same contract, held to the same tests, gone at exit."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from service.domain.errors import LogUnavailable, OffsetsGone
from service.ports import PresenceBatch, PresenceRecord


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryPresence:
    """`PresenceLog` in memory. While `available` is false every call raises LogUnavailable."""

    def __init__(self, now_ms: Callable[[], int] = _now_ms) -> None:
        self._records: list[PresenceRecord] = []
        self._next = 0
        self._now_ms = now_ms
        self._available = True
        self._changed = asyncio.Event()

    @property
    def available(self) -> bool:
        return self._available

    @available.setter
    def available(self, value: bool) -> None:
        self._available = value
        self._wake()

    def compact(self) -> None:
        """Keep the newest record of each key, and no tombstone."""
        newest = {record.key: record for record in self._records}
        self._records = [one for one in self._records if newest[one.key] is one and one.value is not None]

    async def append(self, entries: Sequence[tuple[str, bytes | None]]) -> int:
        self._check()
        for key, value in entries:
            self._records.append(PresenceRecord(self._next, key, value, self._now_ms()))
            self._next += 1
        self._wake()
        return self._next if entries else 0

    @asynccontextmanager
    async def follow(self, start: int | None) -> AsyncIterator["MemoryPresenceReader"]:
        self._check()
        if start is not None and not 0 <= start <= self._next:
            raise OffsetsGone(f"the topic holds [0, {self._next}), {start} was asked for")
        yield MemoryPresenceReader(self, start or 0, self._next)

    def _check(self) -> None:
        if not self._available:
            raise LogUnavailable("presence was made unavailable")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class MemoryPresenceReader:
    """`PresenceReader` on a MemoryPresence."""

    def __init__(self, log: MemoryPresence, start: int, end: int) -> None:
        self._log = log
        self._next = start
        self._end = end

    @property
    def end(self) -> int:
        return self._end

    async def read(self) -> PresenceBatch:
        while True:
            self._log._check()
            changed = self._log._changed
            if self._next < self._log._next:
                found = [record for record in self._log._records if record.offset >= self._next]
                self._next = self._log._next
                return PresenceBatch(found, self._next)
            await changed.wait()
