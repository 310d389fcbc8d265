"""The frames of replays, joined: those that many return for are made once."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from pydantic_core import to_json

from service.domain.frames import replay_frame, replay_frames, text_frame
from service.domain.records import Record, Unusable
from service.domain.subscriptions import CatchUp
from service.domain.window import Part

_offset = attrgetter("offset")
_partition_of = attrgetter("partition")
_MOST_KEYS: Final = 4_096
_PIECE: Final = 64
"""Records that are joined: what comes while a crowd returns changes the last piece alone."""
_FEW: Final = 8
"""So few of a channel are framed one by one, for them to lie in one of another channel's pieces each."""
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
            step = _PIECE if len(parts) == 1 or len(records) > _FEW else 1
            for at in range(0, len(records), step):
                piece = self._piece_of(channel, records[at : at + step], is_kept=step > 1)
                if piece is None:
                    return None
                pieces.append(piece)
        if len(parts) == 1:
            return pieces[0].joined if len(pieces) == 1 else b"".join([piece.joined for piece in pieces])
        pieces.sort(key=_first_of)
        return b"".join([_interleaved(among, group, parts) for among in _overlapping(pieces)])

    def _piece_of(self, channel: str, records: Sequence[Record], *, is_kept: bool) -> "_Framed | None":
        """The frames of at most `_PIECE` records for one channel; None where they have to be looked at."""
        first, last = records[0], records[-1]
        if not is_kept:
            return None if any(map(_wants_a_look, records)) else _Framed(records, channel)
        key = (first.partition, first.offset, last.offset, len(records), channel)
        kept = self._framed.find(key)
        if kept is not None:
            return kept
        if any(map(_wants_a_look, records)):
            return None
        made = _Framed(records, channel)
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
    """Frames of a channel: alone they are sent joined, else those of other channels come between."""

    __slots__ = ("_channel", "_frames", "_joined", "_records", "first", "last")

    def __init__(self, records: Sequence[Record], channel: str) -> None:
        self._records = records
        self._channel = channel
        self.first = records[0].offset
        self.last = records[-1].offset
        self._joined: bytes | None = None
        self._frames: dict[int, bytes] | None = None

    @property
    def joined(self) -> bytes:
        """All of them, in order."""
        return b"".join(replay_frames(self._records, (self._channel,))) if self._joined is None else self._joined

    @property
    def frames(self) -> dict[int, bytes]:
        """Each by its offset."""
        if self._frames is not None:
            return self._frames
        parts = iter(replay_frames(self._records, (self._channel,)))
        return {
            record.offset: b"".join(three)
            for record, three in zip(self._records, zip(parts, parts, parts, strict=True), strict=True)
        }

    def settle(self) -> int:
        """Make both for good, and let go of the records; bytes that it takes."""
        self._joined, self._frames = self.joined, self.frames
        self._records = ()
        return 2 * len(self._joined) + _FRAME_OVERHEAD * len(self._frames)


_first_of = attrgetter("first")


def _wants_a_look(record: Record) -> bool:
    return record.ttl is not None or record.__class__ is Unusable


def _overlapping(pieces: Sequence[_Framed]) -> Iterator[Sequence[_Framed]]:
    """Those of some pieces, in the order of their beginnings, that lie between each other; most do alone."""
    among: list[_Framed] = []
    last = -1
    for piece in pieces:
        if among and piece.first > last:
            yield among
            among = []
        among.append(piece)
        last = max(last, piece.last) if len(among) > 1 else piece.last
    yield among


def _interleaved(pieces: Sequence[_Framed], group: CatchUp, parts: Sequence[Part]) -> bytes:
    """Their frames in order, one for an event, however many of the channels carry it. The records are in `parts`."""
    if len(pieces) == 1:
        return pieces[0].joined
    frames: dict[int, bytes] = {}
    for piece in pieces:
        own = piece.frames
        for offset in frames.keys() & own.keys():
            record = _at(parts, offset)
            own = {**own, offset: replay_frame(record, group.of(record.channels))}
        frames.update(own)
    return b"".join([frames[offset] for offset in sorted(frames)])


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


def _at(parts: Sequence[Part], offset: int) -> Record:
    """The record of an offset, which one of the parts has."""
    for _, records in parts:
        at = bisect_left(records, offset, key=_offset)
        if at < len(records) and records[at].offset == offset:
            return records[at]
    raise KeyError(offset)


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
