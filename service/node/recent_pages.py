"""The pages that were read last: a crowd that comes back for the same range reads them once."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from service.domain.records import Record

_MAX_BYTES: Final = 8 * 1024 * 1024
_RECORD_BYTES: Final = 600
"""What a record takes beside its value."""


class _Page(Protocol):
    @property
    def records(self) -> Sequence[Record]: ...


K = TypeVar("K", bound=Hashable)
P = TypeVar("P", bound=_Page)


class RecentPages(Generic[K, P]):
    """Pages to which nothing can be added any more. Bounded in bytes; the least recently used goes first."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pages: OrderedDict[K, P] = OrderedDict()
        self._bytes = 0

    def find(self, key: K) -> P | None:
        """The page, if it was kept."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def keep(self, key: K, page: P) -> None:
        """Keep a page."""
        before = self._pages.pop(key, None)
        if before is not None:
            self._bytes -= _size(before)
        self._pages[key] = page
        self._bytes += _size(page)
        while self._bytes > self._max_bytes:
            _, dropped = self._pages.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(page: _Page) -> int:
    return _RECORD_BYTES + sum(len(record.value) + _RECORD_BYTES for record in page.records)
