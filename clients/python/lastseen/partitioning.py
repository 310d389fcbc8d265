"""The partition of a key, remembered: to hash it in Python takes longer than all the rest of an append."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

REMEMBERED: Final = 16_384


class Partitioner:
    """`default`, a Kafka client's own partitioner, with a memory.

    All clients' own rule for a record with a key is the one of Kafka's Java client (murmur2), and the service's
    too: an event goes to the same partition whoever appends it.
    """

    def __init__(self, default: Callable[[bytes, Sequence[int], Sequence[int]], Any]) -> None:
        @lru_cache(REMEMBERED)
        def place(key: bytes, partitions: int) -> int:
            return int(default(key, range(partitions), ()))

        self._place = place

    def __call__(self, key: bytes, all_partitions: Sequence[int], available: Sequence[int]) -> int:
        """As the clients call it; `all_partitions` are 0 and up, without a hole."""
        return self._place(key, len(all_partitions))
