"""Conversations that have ended, as long as something still has them: only the garbage collector lets go of those."""

from collections.abc import Sequence
from typing import Final
from weakref import ref

_WATCHED: Final = 10_000


class Leftovers:
    """Told of what has ended, it knows what of that is there still; of the last so many."""

    def __init__(self) -> None:
        self._ended: list[ref[object]] = []
        self._left: Sequence[ref[object]] = ()

    def add(self, one: object) -> None:
        """It has ended."""
        self._ended.append(ref(one))
        if len(self._ended) > 2 * _WATCHED:
            del self._ended[:_WATCHED]

    def count(self) -> int:
        """How many are there still of those that had ended when this was asked last."""
        left = [one for one in self._left if one() is not None]
        self._left, self._ended = [*left, *self._ended][-_WATCHED:], []
        return len(left)
