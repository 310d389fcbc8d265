"""Header names that are not UTF-8 must not stop a reader.

Brokers take them (a C client sends whatever bytes it likes), aiokafka's parser raises on them, and would on
every later try: one such record would stop every node and the log writer for good. With this its name is
escaped (`caf\\xe9`) and the record is read, or quarantined, like any other foreign one.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


def install() -> None:
    """Have aiokafka's consumers in this process read leniently. Doing it again changes nothing."""
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """The batches of one fetched chunk, as aiokafka's MemoryRecords."""

    __slots__ = ("_data", "_read", "_records")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = MemoryRecords(data)
        self._read = 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> "_Batch | None":
        batch = self._records.next_batch()
        if batch is None:
            return None
        self._read += 1
        return _Batch(batch, self._data, self._read - 1)


class _Batch:
    """A batch that is read by aiokafka's fast parser as long as that can."""

    __slots__ = ("_batch", "_data", "_number")

    def __init__(self, batch: Any, data: bytes, number: int) -> None:
        self._batch = batch
        self._data = data
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        given = 0
        try:
            for record in self._batch:
                yield record
                given += 1
        except UnicodeDecodeError:
            for place, record in enumerate(self._leniently()):
                if place >= given:
                    yield record

    def _leniently(self) -> Iterator[Any]:
        records = _MemoryRecordsPy(self._data)
        for _ in range(self._number):
            records.next_batch()
        assert records._next_slice is not None, "it was there a moment ago"
        batch = _DefaultRecordBatchPy(records._next_slice)
        batch._maybe_uncompress()
        batch._buffer = _Escaping(batch._buffer)
        yield from batch


class _Escaping(bytearray):
    """Bytes whose parts decode with escapes where others would raise."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Escaping(part) if isinstance(place, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
