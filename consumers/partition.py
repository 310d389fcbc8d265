"""One partition as a consumer goes through it: each record read, judged, and put where it belongs."""

from service.adapters.postgres.batches import Batch, Quarantined, Readable, Voided
from service.domain.duplicates import LookBack
from service.domain.errors import Unreadable
from service.domain.records import RawRecord, read_record


class Partition:
    """The look-back of a partition and the batch that is not written yet."""

    __slots__ = ("batch", "look_back", "reading")

    def __init__(self, number: int, next_: int, look_back: LookBack, reading: int | None = None) -> None:
        """`next_`: where the first batch begins; `reading`: from where on records come, for the look-back alone."""
        self.look_back = look_back
        self.batch = Batch(number, next_, next_)
        self.reading = next_ if reading is None else reading
        """The offset to be read next."""

    @property
    def next(self) -> int:
        """Where the batch ends so far."""
        return self.batch.next

    @property
    def has_moved(self) -> bool:
        """Whether there is anything to write."""
        return self.batch.next > self.batch.first

    def add(self, raw: RawRecord) -> None:
        """Take the next record. It must lie at or above `reading`."""
        batch, offset = self.batch, raw.offset
        if offset < self.reading:
            raise ValueError(f"offset {offset} comes after {self.reading} was due")
        self.reading = offset + 1
        is_before = offset < batch.next
        if not is_before:
            batch.next = offset + 1
        try:
            record = read_record(raw)
        except Unreadable as error:
            if not is_before:
                batch.quarantined.append(Quarantined(raw, error.reason, str(error), error.channels))
            return
        why = self.look_back.judge(record)
        if is_before:
            return
        if why is None:
            batch.readable.append(Readable(record, raw))
        else:
            batch.voids.append(Voided(record, why))

    def pass_to(self, next_: int) -> None:
        """Note that no record lies below `next_` any more."""
        self.reading = max(self.reading, next_)
        self.batch.next = max(self.batch.next, next_)

    def take_batch(self) -> Batch:
        """Give the batch away to be written, and begin a new one where it ends."""
        batch = self.batch
        self.batch = Batch(batch.partition, batch.next, batch.next)
        return batch
