"""One partition as the log writer goes through it: each record read, judged, and put where it belongs."""

from service.adapters.postgres.batches import Batch, Quarantined, Readable, Voided
from service.domain.duplicates import LookBack
from service.domain.errors import Unreadable
from service.domain.records import RawRecord, read_record


class Partition:
    """The look-back of a partition and the batch that is not written yet."""

    __slots__ = ("batch", "look_back")

    def __init__(self, number: int, next_: int, look_back: LookBack) -> None:
        self.look_back = look_back
        self.batch = Batch(number, next_, next_)

    @property
    def next(self) -> int:
        """The offset to be read next."""
        return self.batch.next

    @property
    def has_moved(self) -> bool:
        """Whether there is anything to write."""
        return self.batch.next > self.batch.first

    def add(self, raw: RawRecord) -> None:
        """Take the next record. It must lie at or above `next`."""
        if raw.offset < self.batch.next:
            raise ValueError(f"offset {raw.offset} comes after {self.batch.next} was due")
        self.batch.next = raw.offset + 1
        try:
            record = read_record(raw)
        except Unreadable as error:
            self.batch.quarantined.append(Quarantined(raw, error.reason, str(error)))
            return
        why = self.look_back.judge(record)
        if why is None:
            self.batch.readable.append(Readable(record, raw))
        else:
            self.batch.voids.append(Voided(record, why))

    def pass_to(self, next_: int) -> None:
        """Note that no record lies below `next_` any more."""
        self.batch.next = max(self.batch.next, next_)

    def take_batch(self) -> Batch:
        """Give the batch away to be written, and begin a new one where it ends."""
        batch = self.batch
        self.batch = Batch(batch.partition, batch.next, batch.next)
        return batch
