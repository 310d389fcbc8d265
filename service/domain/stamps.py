"""When a record came: what lets facts be compared in whatever order partitions are read."""

from typing import NamedTuple

from service.domain.records import Record


class Stamp(NamedTuple):
    """A record's epoch, time of appending (ms since 1970), partition and offset."""

    epoch: int
    appended_at: int
    partition: int
    offset: int

    def is_after(self, other: "Stamp") -> bool:
        """Whether its record is the later one: in one partition by the offset, else by the time of appending.

        A record that is read again in a later epoch of the same topic keeps both time and partition, so it is no news.
        """
        if self.partition == other.partition and self.epoch == other.epoch:
            return self.offset > other.offset
        return (self.appended_at, self.partition) > (other.appended_at, other.partition)


def stamp_of(record: Record, epoch: int) -> Stamp:
    """The stamp of a record of this epoch."""
    return Stamp(epoch, record.appended_at, record.partition, record.offset)
