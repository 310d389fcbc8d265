"""Rows of `log` in the binary format of COPY, made straight from records.

The driver's codecs take a Python object for every column of every row. Here a row is three pieces, and most of it is
made once: its *place* (epoch, partition, day) for all rows of a partition in a transaction, its *shape* (type, ttl,
channels) for all records that share these, and its *rest*, which is the record's own bytes. The place comes first in a
row and is known last, as the fence says it; so rows are made without it, while the transaction before is under way.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from struct import Struct
from typing import Final

from service.adapters.postgres.rows import columns_of, time_of
from service.domain.records import Record

COPY_COLUMNS: Final = (
    "epoch", "partition", "bucket",
    "type", "ttl", "task", "project", "user", "system", "broadcast",
    "offset", "appended_at", "id", "payload",
)  # fmt: skip
"""The columns of `log`, in the order in which the rows have them."""

_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""The signature; no flags, no extension."""
_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
"""The length of a column that has no value."""
_FALSE: Final = b"\0\0\0\1\0"
_TRUE: Final = b"\0\0\0\1\1"

_PLACE: Final = Struct(">hiiiiii")
"""How many columns; then each with its length before it."""
_BIGINT: Final = Struct(">iq")
_LENGTH: Final = Struct(">i")
_OFFSET_TIME_AND_LENGTH: Final = Struct(">iqiqi")

_2000: Final = date(2000, 1, 1)
_MS_OF_2000: Final = 946_684_800_000
_FIRST_MS: Final = -62_135_596_800_000
_LAST_MS: Final = 253_402_300_799_999
"""The years 1 to 9999, which a row can be read back with."""
_BIGINTS: Final = range(-(2**63), 2**63)
_CACHED_SHAPES: Final = 65_536


def row_bytes(record: Record) -> bytes:
    """The row of `record` less its place. Raises OverflowError where a column can't hold its time or its ttl."""
    ms = record.appended_at
    if not _FIRST_MS <= ms <= _LAST_MS:
        time_of(ms)
    id_ = record.id.encode()
    payload = record.value
    return b"".join(
        (
            _shape(record.type, record.ttl, record.channels),
            _OFFSET_TIME_AND_LENGTH.pack(8, record.offset, 8, (ms - _MS_OF_2000) * 1000, len(id_)),
            id_,
            _LENGTH.pack(len(payload)),
            payload,
        )
    )


def place_bytes(epoch: int, partition: int, bucket: date) -> bytes:
    """What every row of a partition begins with."""
    return _PLACE.pack(len(COPY_COLUMNS), 4, epoch, 4, partition, 4, (bucket - _2000).days)


def copy_bytes(placed: Iterable[tuple[bytes, Sequence[bytes]]]) -> bytes:
    """All that a COPY is sent: rows of `row_bytes`, each list with the `place_bytes` of its rows."""
    parts = [_BEGIN]
    for place, rows in placed:
        if rows:
            parts += (place, place.join(rows))
    parts.append(_END)
    return b"".join(parts)


@lru_cache(_CACHED_SHAPES)
def _shape(type_: str, ttl: int | None, channels: tuple[str, ...]) -> bytes:
    columns = columns_of(channels)
    if ttl is not None and ttl not in _BIGINTS:
        raise OverflowError(f"the ttl {ttl} is longer than a column holds: at most {_BIGINTS[-1]} seconds are")
    return b"".join(
        (
            _text(type_),
            _NULL if ttl is None else _BIGINT.pack(8, ttl),
            _text(columns.task),
            _text(columns.project),
            _text(columns.user),
            _TRUE if columns.system else _FALSE,
            _TRUE if columns.broadcast else _FALSE,
        )
    )


def _text(text: str | None) -> bytes:
    if text is None:
        return _NULL
    encoded = text.encode()
    return _LENGTH.pack(len(encoded)) + encoded
