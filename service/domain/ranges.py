"""What is held of a partition: half-open ranges of offsets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Bounds(NamedTuple):
    """What Kafka holds of a partition: the readable offsets lie in `[first, next)`."""

    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the history holds of one partition: `[first, next)` less the holes."""

    first: int
    next: int
    holes: Sequence[tuple[int, int]] = ()
    """Half-open ranges that were gone before the log writer could read them, ascending."""

    def hole_at(self, offset: int) -> tuple[int, int] | None:
        """The hole that `offset` lies in."""
        return next((hole for hole in self.holes if hole[0] <= offset < hole[1]), None)
