"""The frames of replays, joined: those that many return for are made once."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from pydantic_core import to_json

from service.domain.frames import replay_frame, text_frame
from service.domain.records import Record, Unusable
from service.domain.subscriptions import CatchUp
from service.domain.window import Part

_offset = attrgetter("offset")
_partition_of = attrgetter("partition")
_MOST_KEYS: Final = 4_096
_PIECE: Final = 64
"""Records that are joined: what comes while a crowd returns changes the last piece alone."""
Contradicts = Callable[[Record], bool]
_Names = frozenset[tuple[str, ...]]
_Counting = Mapping[tuple[str, ...], tuple[str, ...]]
_FRAME_OVERHEAD: Final = 150
"""Bytes that a frame costs beside its own, where it can be found by its offset."""


class ReplayFrames:
    """Joins what a catch-up gets of some records.

    What was asked for twice is kept, within `max_bytes`, and forgotten in the order of its last use: what only one
    client has missed never is, so it costs nothing but its key.
    """

    def __init__(self, max_bytes: int) -> None:
        self._joined: _Kept[_Joined] = _Kept(max_bytes // 2)
        self._framed: _Kept[_Framed] = _Kept(max_bytes // 2)

    @property
    def kept_bytes(self) -> int:
        """At most `max_bytes`."""
        return self._joined.bytes + self._framed.bytes

    def join_parts(self, group: CatchUp, parts: Sequence[Part]) -> bytes | None:
        """The frames, in order, for records of one partition that are given by channels of the catch-up.

        None where they have to be looked at one by one: a task's, whose start they may contradict, those that expire or
        can't be used. What many ask for is not looked at again.
        """
        if group.offline is not None or not group.has_begun_before(min((r[0] for _, r in parts), key=_offset)):
            return None
        pieces: list[_Framed] = []
        for channel, records in parts:
            if channel.startswith("task:"):
                return None
            for at in range(0, len(records), _PIECE):
                piece = self._piece_of(channel, records[at : at + _PIECE])
                if piece is None:
                    return None
                pieces.append(piece)
        if len(pieces) == 1:
            return pieces[0].joined
        if len(parts) == 1:
            return b"".join([piece.joined for piece in pieces])
        frames: dict[int, bytes] = {}
        shared: set[int] = set()
        for piece in pieces:
            shared.update(frames.keys() & piece.frames.keys())
            frames.update(piece.frames)
        if shared:
            # One event, however many of the channels carry it.
            several = {record.offset: record for _, records in parts for record in records if record.offset in shared}
            frames |= {at: replay_frame(record, group.of(record.channels)) for at, record in several.items()}
        return b"".join([frames[offset] for offset in sorted(frames)])

    def _piece_of(self, channel: str, records: Sequence[Record]) -> "_Framed | None":
        """The frames of at most `_PIECE` records for one channel; None where they have to be looked at."""
        first, last = records[0], records[-1]
        key = (first.partition, first.offset, last.offset, len(records), channel)
        kept = self._framed.find(key)
        if kept is not None:
            return kept
        middle = b',"replay":%b,"partition":%d,"offset":' % (to_json([channel]), first.partition)
        frames = {}
        for record in records:
            if record.ttl is not None or record.__class__ is Unusable:
                return None
            frames[record.offset] = text_frame(b"%b%b%d}" % (record.value[:-1], middle, record.offset))
        made = _Framed(frames)
        self._framed.keep(key, made)
        return made

    def join(self, group: CatchUp, records: Sequence[Record], now_ms: int, contradicts: Contradicts) -> bytes:
        """The frames of those records, ascending within each partition, that count for the catch-up."""
        parts = [self._of_one(group, list(part), now_ms, contradicts) for _, part in groupby(records, _partition_of)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

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
        kept = self._joined.find(key)
        if kept is not None:
            return kept.joined
        made = _Joined(_join(records, counting, strays))
        self._joined.keep(key, made)
        return made.joined


class _Joined:
    """Joined frames."""

    __slots__ = ("joined",)

    def __init__(self, joined: bytes) -> None:
        self.joined = joined

    def settle(self) -> int:
        """Bytes that it takes."""
        return len(self.joined)


class _Framed:
    """Frames by their offsets, which ascend: alone they are sent joined, else those of other channels come between."""

    __slots__ = ("_joined", "frames")

    def __init__(self, frames: dict[int, bytes]) -> None:
        self.frames = frames
        self._joined: bytes | None = None

    @property
    def joined(self) -> bytes:
        """All of them."""
        return b"".join(self.frames.values()) if self._joined is None else self._joined

    def settle(self) -> int:
        """Join them for good; bytes that it takes."""
        self._joined = self.joined
        return 2 * len(self._joined) + _FRAME_OVERHEAD * len(self.frames)


class _Keepable(Protocol):
    def settle(self) -> int:
        """It is kept from here on: make it ready; bytes that it takes."""
        ...


K = TypeVar("K", bound=_Keepable)


class _Kept(Generic[K]):
    """Keeps what is asked for a second time, and forgets in the order of the last use."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.bytes = 0
        self._kept: dict[object, tuple[K | None, int]] = {}
        """With its bytes; None for what was asked for once."""

    def find(self, key: object) -> K | None:
        """What is kept under a key, which is its last use."""
        kept = self._kept.get(key)
        if kept is None or kept[0] is None:
            return None
        del self._kept[key]
        self._kept[key] = kept
        return kept[0]

    def keep(self, key: object, made: K) -> None:
        """It has been asked for, and was not found."""
        is_known = self._kept.pop(key, None) is not None
        size = made.settle() if is_known else 0
        self._kept[key] = (made if is_known else None, size)
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._kept) > _MOST_KEYS:
            self.bytes -= self._kept.pop(next(iter(self._kept)))[1]


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
