"""Epochs: their names, short and of one data only, why they began, and what was lost when one did."""

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH: Final = 6


class Reason(StrEnum):
    """Why an epoch began."""

    CREATED = "created"
    """It is the first one."""
    TOPIC = "topic"
    """The topic is another than before: it was made anew, or another is used."""
    PARTITIONS = "partitions"
    """The topic got more partitions."""
    LOST = "lost"
    """Kafka has lost records of the topic."""


class LostRange(NamedTuple):
    """Offsets `[first, next)` of a partition that had been read and are lost; empty, at its end, where none were."""

    partition: int
    first: int
    next: int


class Loss(NamedTuple):
    """What Kafka had lost when the epoch of this number began: a range for each partition that there was."""

    epoch: int
    ranges: tuple[LostRange, ...]

    @property
    def offsets(self) -> int:
        """How many offsets were lost."""
        return sum(one.next - one.first for one in self.ranges)


def described(ranges: Sequence[LostRange]) -> str:
    """The ranges in which anything was lost, for a person: `partition 3 [50, 100), …`."""
    return ", ".join(f"partition {p} [{first}, {next_})" for p, first, next_ in ranges if first < next_)


def epoch_name(topic_id: UUID, number: int) -> str:
    """Six of `a-z0-9`, derived from the Kafka topic's id and the epoch's number.

    So a token of another installation, whose first epoch is number 1 too, is not taken for one of this.
    """
    digest = blake2b(topic_id.bytes + number.to_bytes(4), digest_size=8, person=b"epoch").digest()
    value = int.from_bytes(digest)
    name = ""
    for _ in range(_LENGTH):
        value, digit = divmod(value, len(_DIGITS))
        name += _DIGITS[digit]
    return name
