"""Void records: the one rule by which every reader passes over the same records.

The rule looks back W offsets in the record's own partition. The record at offset `o` is void as a
*duplicate* if any record with its id, void or not, lies in `[o-W, o)`, and as *fenced* if a terminal
event of its task, void or not, lies there. "Void or not" makes the verdict a function of those W offsets
alone, so readers that started at different times agree without talking.
"""

from collections import deque
from enum import StrEnum
from typing import Final, NamedTuple

from service.domain.records import Record

LOOK_BACK: Final = 10_000
"""W by default, in offsets. It bounds how late a producer's retry is still recognised."""


class Void(StrEnum):
    """Why a record counts for nobody."""

    DUPLICATE = "duplicate"
    FENCED = "fenced"


class Seen(NamedTuple):
    """What the rule remembers of a readable record."""

    offset: int
    id: str
    ended_task: str | None
    """The task that it ends, where it is a terminal event."""


class LookBack:
    """The last W offsets of one partition. Records are judged in the order of their offsets."""

    __slots__ = ("_ended", "_entries", "_first", "_last", "_size")

    def __init__(self, size: int = LOOK_BACK) -> None:
        self._size = size
        # As `Seen`, in plain tuples: this is done for every record, by every reader.
        self._entries: deque[tuple[int, str, str | None]] = deque()
        self._last: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._ended: dict[str | None, int] = {}

    def judge(self, record: Record) -> Void | None:
        """Whether `record` is void, and remember it. Its offset must exceed all remembered ones."""
        offset, id_ = record.offset, record.id
        self._forget(offset - self._size)
        verdict = None
        if id_ in self._last:
            verdict = Void.DUPLICATE
        elif self._ended and record.task in self._ended:
            verdict = Void.FENCED
        self._remember(offset, id_, record.ended_task)
        return verdict

    def load(self, entry: Seen) -> None:
        """Remember a record judged earlier. Its offset must exceed all remembered ones."""
        self._forget(entry.offset - self._size)
        self._remember(*entry)

    def first_of(self, id_: str, at: int) -> int | None:
        """The first known offset of this id, if a record appended at `at` would be its duplicate."""
        last = self._last.get(id_)
        if last is None or last < at - self._size:
            return None
        return self._first.get(id_, last)

    def _remember(self, offset: int, id_: str, ended_task: str | None) -> None:
        self._entries.append((offset, id_, ended_task))
        last = self._last
        if id_ in last:
            self._first.setdefault(id_, last[id_])
        last[id_] = offset
        if ended_task is not None:
            self._ended[ended_task] = offset

    def _forget(self, below: int) -> None:
        entries = self._entries
        while entries and entries[0][0] < below:
            offset, id_, ended_task = entries.popleft()
            if self._last.get(id_) == offset:
                del self._last[id_]
                self._first.pop(id_, None)
            if ended_task is not None and self._ended.get(ended_task) == offset:
                del self._ended[ended_task]
