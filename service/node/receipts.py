"""The newest receipts that have come, to answer a command that is sent again."""

from collections import deque
from typing import Final

from service.domain.commands import Receipt, may_hold, read_receipt
from service.domain.records import Record

_REMEMBERED: Final = 10_000
_LONGEST: Final = 4096
"""Bytes of a receipt that is worth remembering: there is little to say in one."""


class Receipts:
    """Remembers records, which are read when they are asked for; the oldest goes first."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._by_task: dict[str, deque[Record]] = {}
        self._order: deque[str] = deque()

    def add(self, task: str, record: Record) -> None:
        """Remember a receipt on the channel of `task`."""
        if len(record.value) > _LONGEST:
            return
        self._by_task.setdefault(task, deque()).append(record)
        self._order.append(task)
        if len(self._order) > self._remembered:
            oldest = self._order.popleft()
            of_task = self._by_task[oldest]
            of_task.popleft()
            if not of_task:
                del self._by_task[oldest]

    def final(self, task: str, user: str, command_id: str) -> Receipt | None:
        """The newest receipt that says what became of the user's command of that id."""
        for record in reversed(self._by_task.get(task, ())):
            if may_hold(record, command_id):
                receipt = read_receipt(record)
                if receipt is None or not receipt.is_final or receipt.refuses_id:
                    continue
                if (receipt.by, receipt.command_id) == (user, command_id):
                    return receipt
        return None
