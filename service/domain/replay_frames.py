"""The frames of replays, joined: those that many return for are made once."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from pydantic_core import to_json

from service.domain.frames import replay_frame, text_frame
from service.domain.records import Record, Unusable
from service.domain.subscriptions import CatchUp

_partition_of = attrgetter("partition")
_MOST_KEYS: Final = 4_096
_PIECE: Final = 64
"""Records that are joined: what comes while a crowd returns changes the last piece alone."""
Contradicts = Callable[[Record], bool]
_Names = frozenset[tuple[str, ...]]
_Counting = Mapping[tuple[str, ...], tuple[str, ...]]
_Key = tuple[int, int, int, int, _Names, frozenset[int]] | tuple[int, int, int, int, str]


class ReplayFrames:
    """Joins what a catch-up gets of some records.

    What was asked for twice is kept, within `max_bytes`, and forgotten in the order of its last use: what only one
    client has missed never is, so it costs nothing but its key.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.kept_bytes = 0
        """At most `max_bytes`."""
        self._kept: dict[_Key, bytes | None] = {}
        """None for what was asked for once."""

    def join(self, group: CatchUp, records: Sequence[Record], now_ms: int, contradicts: Contradicts) -> bytes:
        """The frames of those records, ascending within each partition, that count for the catch-up."""
        parts = [self._of_one(group, list(part), now_ms, contradicts) for _, part in groupby(records, _partition_of)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def join_sole(self, group: CatchUp, records: Sequence[Record], channel: str) -> bytes | None:
        """The same for records of one partition that are of one channel of the catch-up, and of no other of its own.

        None where they have to be looked at one by one: a task's, whose start they may contradict, those that expire or
        can't be used. What many ask for is not looked at again.
        """
        if group.offline is not None or channel.startswith("task:") or not group.has_begun_before(records[0]):
            return None
        pieces = []
        for at in range(0, len(records), _PIECE):
            piece = records[at : at + _PIECE]
            first, last = piece[0], piece[-1]
            key = (first.partition, first.offset, last.offset, len(piece), channel)
            kept = self._kept.pop(key, b"")
            if kept:
                self._kept[key] = kept
                pieces.append(kept)
                continue
            if any(record.ttl is not None or isinstance(record, Unusable) for record in piece):
                return None
            middle = b',"replay":%b,"partition":%d,"offset":' % (to_json([channel]), first.partition)
            frames = b"".join([text_frame(b"%b%b%d}" % (one.value[:-1], middle, one.offset)) for one in piece])
            self._keep(key, None if kept is not None else frames)
            pieces.append(frames)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _of_one(self, group: CatchUp, records: Sequence[Record], now_ms: int, contradicts: Contradicts) -> bytes:
        """Those of one partition."""
        if group.offline is not None or not group.has_begun_before(records[0]):
            return b"".join(
                replay_frame(record, channels)
                for record in records
                if not record.is_expired(now_ms) and (channels := group.counts_for(record, contradicts))
            )
        counting = {channels: group.of(channels) for channels in {record.channels for record in records}}
        passing = any(record.ttl is not None for record in records)
        if passing:
            records = [record for record in records if not record.is_expired(now_ms)]
        strays: frozenset[int] = frozenset()
        if any(name.startswith("task:") for names in counting.values() for name in names):
            strays = frozenset(r.offset for r in records if r.task is not None and contradicts(r))
        if passing:
            return _join(records, counting, strays)
        names = frozenset(counting.values())
        pieces = [
            self._piece(records[at : at + _PIECE], counting, names, strays) for at in range(0, len(records), _PIECE)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, records: Sequence[Record], counting: _Counting, names: _Names, strays: frozenset[int]) -> bytes:
        first, last = records[0], records[-1]
        key = (first.partition, first.offset, last.offset, len(records), names, strays)
        kept = self._kept.pop(key, b"")
        if kept:
            self._kept[key] = kept
            return kept
        frames = _join(records, counting, strays)
        self._keep(key, None if kept is not None else frames)
        return frames

    def _keep(self, key: _Key, frames: bytes | None) -> None:
        self._kept[key] = frames
        self.kept_bytes += len(frames or b"")
        while self.kept_bytes > self._max_bytes or len(self._kept) > _MOST_KEYS:
            oldest = self._kept.pop(next(iter(self._kept)))
            self.kept_bytes -= len(oldest or b"")


def _join(records: Sequence[Record], counting: _Counting, strays: frozenset[int]) -> bytes:
    """`counting` are the channels that count, by all of a record's; for `strays` their task's does not."""
    middles: dict[tuple[str, ...], bytes] = {}
    frames = []
    for record in records:
        names = counting[record.channels]
        if record.offset in strays:
            names = tuple(name for name in names if not name.startswith("task:"))
        if names:
            middle = middles.get(names)
            if middle is None:
                middle = b',"replay":%b,"partition":%d,"offset":' % (to_json(names), record.partition)
                middles[names] = middle
            frames.append(text_frame(b"%b%b%d}" % (record.value[:-1], middle, record.offset)))
    return b"".join(frames)
