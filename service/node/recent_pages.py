"""The pages of the history that were read last: a crowd that comes back for the same range reads them once."""

from collections import OrderedDict
from typing import Final

from service.ports import HistoryPage

PageKey = tuple[tuple[str, ...], tuple[tuple[int, int], ...], int, frozenset[str], tuple[tuple[int, int], ...] | None]
"""Channels, the position before the page, how many records at most, of which types, and where offline messages end."""

_MAX_BYTES: Final = 8 * 1024 * 1024
_RECORD_BYTES: Final = 600
"""What a record takes beside its value."""


class RecentPages:
    """Full pages only: nothing can be added to them any more. Bounded in bytes; the least recently used goes first."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pages: OrderedDict[PageKey, HistoryPage] = OrderedDict()
        self._bytes = 0

    def find(self, key: PageKey) -> HistoryPage | None:
        """The page, if it was kept."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def keep(self, key: PageKey, page: HistoryPage) -> None:
        """Keep a page that is full."""
        before = self._pages.pop(key, None)
        if before is not None:
            self._bytes -= _size(before)
        self._pages[key] = page
        self._bytes += _size(page)
        while self._bytes > self._max_bytes:
            _, dropped = self._pages.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(page: HistoryPage) -> int:
    return sum(len(record.value) + _RECORD_BYTES for record in page.records)
