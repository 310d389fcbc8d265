"""What this node has appended, or is appending, and its tail has not read back yet."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Protocol

from service.domain.errors import LogUnavailable
from service.ports import Place

_REMEMBERED: Final = 10_000

Key = tuple[int, str]
"""Partition and id of a record."""


class ReadBack(Protocol):
    """What the tail knows of the log."""

    def first_of(self, partition: int, id_: str) -> int | None:
        """The offset of the record that one with this id, appended now, would be a duplicate of."""
        ...

    def has_read(self, partition: int, offset: int) -> bool:
        """Whether `first_of` speaks of this offset too."""
        ...


class Unread:
    """Ids on their way through the log, so that a retry that is faster than the tail is recognised.

    Bounded: beyond 10,000 the oldest is forgotten; its retry is appended again, and void.
    """

    def __init__(self, read_back: ReadBack) -> None:
        self._read_back = read_back
        self._places: OrderedDict[Key, asyncio.Future[Place]] = OrderedDict()

    def find(self, key: Key) -> asyncio.Future[Place] | None:
        """Where the id is going to stand, or stands; the future fails with the append that it waits for."""
        place = self._places.get(key)
        if place is not None and self._is_read(place):
            del self._places[key]
            return None
        return place

    def begin(self, key: Key) -> None:
        """An id is about to be appended; whoever begins it calls `end` or `fail`."""
        while self._places and (len(self._places) >= _REMEMBERED or self._is_read(next(iter(self._places.values())))):
            _, forgotten = self._places.popitem(last=False)
            if not forgotten.done():
                _fail(forgotten, "too many requests are on their way")
        self._places[key] = asyncio.get_running_loop().create_future()

    def end(self, key: Key, place: Place) -> None:
        """The log has it."""
        waited_for = self._places.get(key)
        if waited_for is not None and not waited_for.done():
            waited_for.set_result(place)

    def fail(self, keys: Iterable[Key]) -> None:
        """They were not acknowledged: the next try is one of its own."""
        for key in keys:
            waited_for = self._places.pop(key, None)
            if waited_for is not None and not waited_for.done():
                _fail(waited_for, "another request with the same id was not acknowledged")

    def _is_read(self, place: asyncio.Future[Place]) -> bool:
        return place.done() and self._read_back.has_read(*place.result())


def _fail(place: asyncio.Future[Place], reason: str) -> None:
    place.set_exception(LogUnavailable(reason))
    place.exception()  # there may be nobody who waits for it
