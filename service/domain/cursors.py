"""Durable cursors: how far each client of a user has got on the user's channel."""

from lastseen.positions import Position

OFFLINE_MS = 7 * 86_400_000
"""How far back offline messages are delivered, in ms."""


def moved(stored: Position | None, to: Position) -> Position:
    """Where a cursor stands after a move: it is never lowered; a position of another epoch says nothing of this one."""
    return to if stored is None or stored.epoch != to.epoch else stored.raised(to)
