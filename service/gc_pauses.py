"""How long the garbage collector stops the process."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: a pause is counted with the first of these that it does not pass, or behind the last."""


class GcPauses:
    """What the pauses were so far. Seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """By `BOUNDS`, each pause once."""
        self.seconds = 0.0
        """In all."""
        self.longest = 0.0
        self._began = 0.0

    def note(self, phase: str, _: object) -> None:
        """As a callback of `gc`."""
        if phase == "start":
            self._began = time.perf_counter()
            return
        took = time.perf_counter() - self._began
        self.counts[sum(took > bound for bound in BOUNDS)] += 1
        self.seconds += took
        self.longest = max(self.longest, took)


@contextmanager
def noted_pauses() -> Iterator[GcPauses]:
    """The pauses from here on, noted while it is entered."""
    pauses = GcPauses()
    gc.callbacks.append(pauses.note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(pauses.note)
