"""When a record came: what lets facts be compared in whatever order partitions are read."""

from collections.abc import Sequence
from typing import NamedTuple

from service.domain.epochs import Loss
from service.domain.records import Record


class Stamp(NamedTuple):
    """A record's life of the topic, time of appending (ms since 1970), partition and offset."""

    epoch: int
    """The epoch that its life began with (`Lives`): within a life what epochs say compares by offsets."""
    appended_at: int
    partition: int
    offset: int

    def is_after(self, other: "Stamp") -> bool:
        """Whether its record is the later one: in one partition by the offset, else by the time of appending.

        A record that is read again in a later epoch of the same topic keeps its place, so it is no news. Whatever a
        later life says is later: its broker's clock may lag behind that of the one before.
        """
        if self.epoch != other.epoch:
            return self.epoch > other.epoch
        if self.partition == other.partition:
            return self.offset > other.offset
        return (self.appended_at, self.partition) > (other.appended_at, other.partition)


class Lives:
    """The lives of a topic: at each loss another begins, with what was appended where the lost records had been.

    What outlived a loss keeps its life. So an addition that is read again does not beat the removal that came after
    it and was lost; and what is appended after the loss beats what was said at the lost offsets.
    """

    __slots__ = ("_first", "_losses")

    def __init__(self, first: int, losses: Sequence[Loss] = ()) -> None:
        """`first`: the number of the epoch that the topic began with; `losses`: those of its later ones."""
        self._first = first
        self._losses = [
            (loss.epoch, {one.partition: one.first for one in loss.ranges})
            for loss in sorted(losses, reverse=True)
            if loss.epoch > first
        ]

    def of(self, partition: int, offset: int) -> int:
        """The number of the epoch that the life of the record at this place began with."""
        for epoch, firsts in self._losses:
            # A partition that was added since has nothing of before.
            if offset >= firsts.get(partition, 0):
                return epoch
        return self._first


def stamp_of(record: Record, lives: Lives) -> Stamp:
    """The stamp of a record of the topic that has had these lives."""
    epoch = lives.of(record.partition, record.offset)
    return Stamp(epoch, record.appended_at, record.partition, record.offset)
