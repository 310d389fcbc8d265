"""The same bytes on many sockets."""

from array import array
from typing import Protocol


class SendAll(Protocol):
    """Sends without waiting."""

    def __call__(self, fds: "array[int]", slots: "array[int]", frames: bytes, /) -> list[tuple[int, int]]:
        """Send `frames` on the descriptor `fds[slot]` of each slot, as much as it takes now.

        The answer names those that did not take all, each with the bytes that it took: none where its descriptor is
        -1 (nothing is sent then), is full, or has failed, which only whoever owns it can tell. Both arrays are
        `array("i")`.
        """
        ...
