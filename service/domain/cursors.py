"""Durable cursors: how far each client of a user has got on the user's channel."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lastseen.positions import Position

_NO_NUMBERS: Final[Mapping[str, int]] = MappingProxyType({})

OFFLINE_MS = 7 * 86_400_000
"""How far back offline messages are delivered, in ms."""


def moved(stored: Position | None, to: Position, numbers: Mapping[str, int] = _NO_NUMBERS) -> Position:
    """Where a cursor stands after a move: it is never lowered, and never moved back to an earlier epoch.

    `numbers` are those of the epochs, by name; one that is not among them is earlier than those that are. Of two
    unknown ones the later is that of the move.
    """
    if stored is None:
        return to
    if stored.epoch == to.epoch:
        return stored.raised(to)
    return stored if numbers.get(stored.epoch, 0) > numbers.get(to.epoch, 0) else to
