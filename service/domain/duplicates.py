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
        self._entries: deque[Seen] = deque()
        self._last: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._ended: dict[str, int] = {}

    def judge(self, record: Record) -> Void | None:
        """Whether `record` is void, and remember it. Its offset must exceed all remembered ones."""
        self._forget(record.offset - self._size)
        task = record.task
        verdict = None
        if record.id in self._last:
            verdict = Void.DUPLICATE
        elif task is not None and task in self._ended:
            verdict = Void.FENCED
        self._remember(Seen(record.offset, record.id, record.ended_task))
        return verdict

    def load(self, entry: Seen) -> None:
        """Remember a record judged earlier. Its offset must exceed all remembered ones."""
        self._forget(entry.offset - self._size)
        self._remember(entry)

    def first_of(self, id_: str, at: int) -> int | None:
        """The first known offset of this id, if a record appended at `at` would be its duplicate."""
        last = self._last.get(id_)
        if last is None or last < at - self._size:
            return None
        return self._first.get(id_, last)

    def _remember(self, entry: Seen) -> None:
        self._entries.append(entry)
        if entry.id in self._last:
            self._first.setdefault(entry.id, self._last[entry.id])
        self._last[entry.id] = entry.offset
        if entry.ended_task is not None:
            self._ended[entry.ended_task] = entry.offset

    def _forget(self, below: int) -> None:
        entries = self._entries
        while entries and entries[0].offset < below:
            old = entries.popleft()
            if self._last.get(old.id) == old.offset:
                del self._last[old.id]
                self._first.pop(old.id, None)
            if old.ended_task is not None and self._ended.get(old.ended_task) == old.offset:
                del self._ended[old.ended_task]
