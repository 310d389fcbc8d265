"""Positions: how far a subscription has seen the log.

A position is an epoch and, per partition, the offset of the **last event seen**: the next one wanted
lies at a greater offset, never assumed to be `offset + 1` (Kafka's offsets are sparse). `-1` means that
nothing of the partition has been seen and that offset 0 is still wanted; a partition left out means
earliest: everything held, whatever that is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, Self

_EPOCH: Final = re.compile(r"[a-z0-9]{1,16}")
_ENTRY: Final = re.compile(r"(0|[1-9][0-9]{0,9})=(-1|0|[1-9][0-9]{0,18})")
_MAX_OFFSET: Final = 2**63 - 1
_MAX_PARTITION: Final = 2**31 - 1
_MAX_TOKEN: Final = 65_536

EARLIEST_TOKEN: Final = "earliest"  # noqa: S105 - a word of the protocol


@dataclass(frozen=True, slots=True)
class Position:
    """An epoch and `{partition: last-seen offset}`. The empty epoch is the word `earliest`."""

    epoch: str
    offsets: Mapping[int, int]

    @classmethod
    def parse(cls, token: str) -> Self:
        """The position that a token means. Raises ValueError saying what a token looks like."""
        if token == EARLIEST_TOKEN:
            return cls("", {})
        if len(token) > _MAX_TOKEN:
            raise ValueError(f"a position token has at most {_MAX_TOKEN} characters, this one {len(token)}")
        epoch, colon, rest = token.partition(":")
        if not colon or not _EPOCH.fullmatch(epoch):
            raise ValueError(_malformed(token))
        offsets: dict[int, int] = {}
        for entry in rest.split(",") if rest else ():
            match = _ENTRY.fullmatch(entry)
            if match is None:
                raise ValueError(_malformed(token))
            partition, offset = int(match[1]), int(match[2])
            if partition in offsets or partition > _MAX_PARTITION or offset > _MAX_OFFSET:
                raise ValueError(_malformed(token))
            offsets[partition] = offset
        return cls(epoch, offsets)

    @property
    def is_earliest(self) -> bool:
        """Whether this is the word `earliest`, which belongs to no epoch."""
        return not self.epoch

    @property
    def token(self) -> str:
        """The text that `parse` reads back."""
        if self.is_earliest:
            return EARLIEST_TOKEN
        return f"{self.epoch}:" + ",".join(f"{p}={o}" for p, o in sorted(self.offsets.items()))

    def __str__(self) -> str:
        return self.token

    def has_seen(self, partition: int, offset: int) -> bool:
        """Whether a record at `offset` lies at or below this position."""
        seen = self.offsets.get(partition)
        return seen is not None and offset <= seen

    def advanced(self, partition: int, offset: int) -> "Position":
        """This position raised to `offset` in `partition`; never lowered."""
        if self.has_seen(partition, offset):
            return self
        return Position(self.epoch, {**self.offsets, partition: offset})

    def raised(self, other: "Position") -> "Position":
        """The component-wise maximum of two positions of one epoch (`earliest` is below all)."""
        if other.is_earliest:
            return self
        if self.is_earliest:
            return other
        self._same_epoch(other)
        merged = dict(self.offsets)
        for partition, offset in other.offsets.items():
            if merged.get(partition, -2) < offset:
                merged[partition] = offset
        return Position(self.epoch, merged)

    def lowered(self, other: "Position") -> "Position":
        """The component-wise minimum of two positions of one epoch: what both have seen."""
        if self.is_earliest or other.is_earliest:
            return EARLIEST
        self._same_epoch(other)
        common = self.offsets.keys() & other.offsets.keys()
        return Position(self.epoch, {p: min(self.offsets[p], other.offsets[p]) for p in common})

    def _same_epoch(self, other: "Position") -> None:
        if self.epoch != other.epoch:
            raise ValueError(f"positions of epochs {self.epoch} and {other.epoch} cannot be compared")


EARLIEST: Final = Position("", {})


def smallest_of(positions: Sequence[Position], epoch: str) -> Position | None:
    """From where all of these can go on at once, while the server is in this epoch; None where there are none."""
    if not positions:
        return None
    # Where some have crossed into a new epoch and some have not, only the old token brings the gap.
    first = next((position for position in positions if position.epoch != epoch), positions[0])
    return reduce(Position.lowered, [position for position in positions if position.epoch == first.epoch])


def _malformed(token: str) -> str:
    return (
        f"{token[:200]!r} is no position: use a token that the server gave, such as 'k3f9:0=1523,7=88', "
        f"or '{EARLIEST_TOKEN}'"
    )
