"""The in-memory twin of the projection of rights, on the twin of the log."""

from collections.abc import Iterable, Mapping
from typing import Final

from service.adapters.memory import MemoryLog
from service.domain.duplicates import LOOK_BACK, LookBack
from service.domain.errors import HistoryUnavailable, Unreadable
from service.domain.records import RawRecord, read_record
from service.domain.rights import Rights
from service.ports import HeldRights, HeldTask

_NO_BOUND: Final = 2**63


class MemoryRights:
    """`RightsLoader` of a MemoryLog, as far as `project` has folded it.

    While `available` is false every call raises HistoryUnavailable.
    """

    def __init__(self, log: MemoryLog, look_back: int = LOOK_BACK, epoch: int = 1) -> None:
        self._log = log
        self._size = look_back
        self._look_backs: dict[int, LookBack] = {}
        self._next: dict[int, int] = {}
        self._rights = Rights(epoch, _NO_BOUND)
        self.available = True

    async def project(self, upto: Mapping[int, int] | None = None) -> None:
        """Fold the log up to the offsets `upto` (exclusive), or all of it."""
        for partition, (first, next_) in (await self._log.bounds()).items():
            stop = next_ if upto is None else min(next_, upto.get(partition, 0))
            start = max(first, self._next.get(partition, 0))
            if start >= stop:
                continue
            async for batch in self._log.read(partition, start, stop):
                self.fold(partition, batch.records, batch.next[partition])
            self._next[partition] = stop

    def fold(self, partition: int, records: Iterable[RawRecord], upto: int) -> None:
        """Fold records of one partition below `upto` that were not folded yet."""
        start = self._next.get(partition, 0)
        for raw in records:
            if not start <= raw.offset < upto:
                continue
            try:
                record = read_record(raw)
            except Unreadable:
                continue
            if self._look_backs.setdefault(partition, LookBack(self._size)).judge(record) is None:
                self._rights.apply(record)
        self._next[partition] = max(start, upto)

    async def load(self, tasks: int) -> HeldRights:
        self._check()
        projects, members, claims = self._rights.everything()
        ids = dict.fromkeys(claim.id for claim in sorted(claims, key=lambda claim: claim.fixed_by.appended_at))
        newest = list(ids)[-tasks:] if tasks else []
        found = [claim for id_ in newest for claim in self._rights.claims(id_)]
        return HeldRights(dict(self._next), projects, members, found, list(ids)[: len(ids) - len(newest)])

    async def task(self, task_id: str) -> HeldTask:
        self._check()
        return HeldTask(self._rights.claims(task_id), dict(self._next))

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("the projection was made unavailable")
