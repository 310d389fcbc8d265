"""The topic in which nodes tell who is connected."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol


class PresenceRecord(NamedTuple):
    """The newest word under a key; a `value` of None is a tombstone: the key is no more."""

    offset: int
    key: str
    value: bytes | None
    appended_at: int
    """The broker's time of appending, ms since 1970."""


class PresenceBatch(NamedTuple):
    """One read of the presence topic."""

    records: Sequence[PresenceRecord]
    next: int
    """The offset read next."""


class PresenceReader(Protocol):
    """A reader of the presence topic that waits at its end."""

    @property
    def end(self) -> int:
        """The next offset of the topic when it was opened: who has read so far knows all that was held then."""
        ...

    async def read(self) -> PresenceBatch:
        """What has come since the last call; waits until something has. Raises LogUnavailable."""
        ...


class PresenceLog(Protocol):
    """The compacted topic `presence`, of one partition: the newest record of each key, in one order for all nodes."""

    async def append(self, entries: Sequence[tuple[str, bytes | None]]) -> int:
        """Append (key, value) in order; None for a tombstone. Gives an offset behind all of them.

        Raises LogUnavailable; then some may have been appended all the same.
        """
        ...

    def follow(self, start: int | None) -> AbstractAsyncContextManager[PresenceReader]:
        """A reader from an offset on, or from the first that is held.

        Raises LogUnavailable, and OffsetsGone where the topic is another than the one that was read before.
        """
        ...
