"""The names of epochs: short, and of one data only."""

from hashlib import blake2b
from typing import Final
from uuid import UUID

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH: Final = 6


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
