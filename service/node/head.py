"""The node's head: how far its tail has read, as the position of whoever has been served everything."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from lastseen.positions import Position

from service.domain.window import Window

_KNOWN: Final = 256
"""Positions whose tokens are kept."""


@lru_cache(_KNOWN)
def _token(epoch: str, offsets: tuple[tuple[int, int], ...]) -> str:
    """A crowd has the same, and it takes long to write."""
    return Position(epoch, dict(offsets)).token


class Head:
    """The head of a window, its token, and waiting for it to move."""

    def __init__(self, window: Window, epoch: str) -> None:
        self._window = window
        self._epoch = epoch
        self._token: str | None = None
        self._moved = asyncio.Event()

    @property
    def epoch(self) -> str:
        """The epoch that its positions are of."""
        return self._epoch

    @property
    def token(self) -> str:
        """The position's token, made anew only after a move."""
        if self._token is None:
            self._token = self.token_of(self._window.heads())
        return self._token

    def token_of(self, offsets: Mapping[int, int]) -> str:
        """The token of other offsets of this epoch."""
        return _token(self._epoch, tuple(offsets.items()))

    def at_most(self, position: Position) -> Position:
        """A position of this epoch, as far as this node has come itself; what it leaves out stays out."""
        heads = self._window.heads()
        known = position.offsets.keys() & heads.keys()
        return Position(self._epoch, {p: min(position.offsets[p], heads[p]) for p in known})

    def move(self) -> None:
        """The window has been appended to or advanced."""
        self._token = None
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def next_move(self) -> None:
        """Wait until the tail has read something more."""
        await self._moved.wait()

    async def passed(self, offsets: Mapping[int, int]) -> None:
        """Wait until the tail has read all of these offsets."""
        while any(self._window.next(partition) <= offset for partition, offset in offsets.items()):
            await self.next_move()
