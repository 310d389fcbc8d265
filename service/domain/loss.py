"""Has Kafka lost records? A fold of looks at it; only what was seen again and again for some time is believed.

After a fail-over a leader may for a moment name an end that lies behind what was read, so one look proves nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from service.domain.epochs import LostRange
from service.domain.errors import Unreadable
from service.domain.records import RawRecord, read_record

LOOKS: Final = 3
"""So many looks in a row, at least, have to show it."""


class Look(NamedTuple):
    """What one look at all partitions showed; the leader of each has answered. `at` is in seconds, of any clock."""

    at: float
    known: Mapping[int, int]
    """Per partition the offset that was to be read next; read before the ends were asked for."""
    ends: Mapping[int, int]
    """Where Kafka ends."""
    differs: Mapping[int, int]
    """Per partition the first offset found at which Kafka has another record than was read there, or none."""

    @property
    def cuts(self) -> Mapping[int, int]:
        """Where the records that were read end, in the partitions in which not all of them are there any more."""
        return {
            p: min(self.ends[p], self.differs.get(p, self.ends[p]))
            for p, next_ in self.known.items()
            if self.ends[p] < next_ or p in self.differs
        }


@dataclass(frozen=True, slots=True)
class Suspicion:
    """That records are lost, and what speaks for it."""

    since: float
    looks: int
    last: Look
    cuts: Mapping[int, int]
    """The lowest that was seen: what is appended meanwhile moves the end up again."""
    known: Mapping[int, int]
    """What was to be read next when the partition was suspected first: a reader may have gone on in what is new."""

    def is_confirmed(self, seconds: float) -> bool:
        """Whether it was seen often enough, and for so long."""
        return self.looks >= LOOKS and self.last.at - self.since >= seconds

    @property
    def ranges(self) -> tuple[LostRange, ...]:
        """What is lost: of the other partitions an empty range, at their ends."""
        return tuple(
            LostRange(p, self.cuts.get(p, end), max(self.known.get(p, 0), self.cuts[p]) if p in self.cuts else end)
            for p, end in sorted(self.last.ends.items())
        )


def suspect(before: Suspicion | None, look: Look) -> Suspicion | None:
    """What is suspected after a further look; None where all that was read is there.

    A look that could not be had ends a suspicion: its caller begins with None again.
    """
    cuts = look.cuts
    if not cuts:
        return None
    if before is None or not cuts.keys() & before.cuts.keys():
        return Suspicion(look.at, 1, look, cuts, look.known)
    return Suspicion(
        before.since,
        before.looks + 1,
        look,
        {p: min(cut, before.cuts.get(p, cut)) for p, cut in cuts.items()},
        {p: before.known[p] if p in before.cuts else next_ for p, next_ in look.known.items()},
    )


class Entry(NamedTuple):
    """What a reader knows of a record that it has read: enough to tell whether another is in its place."""

    offset: int
    id: str
    appended_at: int
    """Kafka's time of appending, ms since 1970."""


def first_difference(entries: Sequence[Entry], found: Iterable[RawRecord]) -> int | None:
    """The first offset of `entries`, which ascend, at which Kafka has not that record: None where it has them all."""
    by_offset = {raw.offset: raw for raw in found}
    return next((entry.offset for entry in entries if not _is_same(entry, by_offset.get(entry.offset))), None)


def _is_same(entry: Entry, raw: RawRecord | None) -> bool:
    if raw is None or raw.timestamp != entry.appended_at:
        return False
    try:
        return read_record(raw).id == entry.id
    except Unreadable:
        return False
