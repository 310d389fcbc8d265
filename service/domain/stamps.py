"""When a record came: what lets facts be compared in whatever order partitions are read."""

from typing import NamedTuple

from service.domain.records import Record


class Stamp(NamedTuple):
    """A record's topic, time of appending (ms since 1970), partition and offset."""

    epoch: int
    """The first epoch of its topic (`Epoch.first_of_topic`): what epochs of one topic say compares by offsets."""
    appended_at: int
    partition: int
    offset: int

    def is_after(self, other: "Stamp") -> bool:
        """Whether its record is the later one: in one partition by the offset, else by the time of appending.

        A record that is read again in a later epoch of the same topic keeps its place, so it is no news. Whatever a
        later topic says is later: its broker's clock may lag behind that of the one before.
        """
        if self.epoch != other.epoch:
            return self.epoch > other.epoch
        if self.partition == other.partition:
            return self.offset > other.offset
        return (self.appended_at, self.partition) > (other.appended_at, other.partition)


def stamp_of(record: Record, epoch: int) -> Stamp:
    """The stamp of a record of the topic whose first epoch is `epoch`."""
    return Stamp(epoch, record.appended_at, record.partition, record.offset)
