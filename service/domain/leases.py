"""Who is lost, by what has been seen of his lease: a number that rises while he lives.

Clocks of different machines are never compared. Who looks counts by a clock of its own for how long it has seen the
same number, and only while it has been looking all the time: what it could not see, while it was frozen or cut off
from Postgres, it holds against nobody.
"""

from collections.abc import Mapping
from typing import NamedTuple


class _Sight(NamedTuple):
    renewal: int
    since: float


class Watch:
    """What one judge has seen. Times are seconds of any clock that never goes back.

    Who has shown the same number for `patience` seconds is lost. Looks that lie further apart than `blink` seconds
    are no looking all the time: then everybody is seen as if for the first time.
    """

    def __init__(self, patience: float, blink: float) -> None:
        self._patience = patience
        self._blink = blink
        self._looked: float | None = None
        self._seen: dict[str, _Sight] = {}

    def look(self, asked: float, answered: float, renewals: Mapping[str, int]) -> Mapping[str, int]:
        """Take what was asked for at the one time and known at the other; who is lost, with the number shown."""
        if self._looked is None or answered - self._looked > self._blink:
            self._seen = {}
        self._looked = answered
        # A number that is new counts from the end of the look, one that is the same up to its beginning.
        self._seen = {
            runner: before
            if (before := self._seen.get(runner)) is not None and before.renewal == renewal
            else _Sight(renewal, answered)
            for runner, renewal in renewals.items()
        }
        return {runner: sight.renewal for runner, sight in self._seen.items() if asked - sight.since >= self._patience}
