"""Which ids have been heard of, without keeping them: a Bloom filter that grows.

It may say yes to an id that it never heard of (about one in a thousand), and never no to one that it did.
"""

from typing import Final

_FIRST_IDS: Final = 1 << 14
_BITS_PER_ID: Final = 16
_HASHES: Final = 6


class Heard:
    """Two bytes an id, in filters each twice as large as the one before."""

    __slots__ = ("_filters", "_left")

    def __init__(self) -> None:
        self._filters: list[bytearray] = []
        self._left = 0

    def add(self, id_: str) -> None:
        """Remember an id for good."""
        if self._left == 0:
            self._left = _FIRST_IDS << len(self._filters)
            self._filters.append(bytearray(self._left * _BITS_PER_ID // 8))
        self._left -= 1
        newest = self._filters[-1]
        for byte, bit in _places(id_, len(newest)):
            newest[byte] |= bit

    def __contains__(self, id_: str) -> bool:
        return any(all(held[byte] & bit for byte, bit in _places(id_, len(held))) for held in self._filters)


def _places(id_: str, size: int) -> list[tuple[int, int]]:
    # Two halves of one hash stand for as many hashes as are wanted.
    number = hash(id_) & 0xFFFF_FFFF_FFFF_FFFF
    at, step = number >> 32, (number & 0xFFFF_FFFF) | 1
    bits = size * 8
    return [(place >> 3, 1 << (place & 7)) for place in ((at + n * step) % bits for n in range(_HASHES))]
