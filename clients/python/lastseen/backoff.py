"""How long to wait before the next attempt: exponential, capped, with full jitter.

Full jitter (anything from nothing to the whole step, the first attempt included) spreads the clients of a
node that went away over the whole step, so that they don't come back as one crowd.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

_MAX_DOUBLINGS: Final = 32


@dataclass(slots=True)
class Backoff:
    """Delays of one series of attempts, in seconds. `random` gives numbers in [0, 1)."""

    base: float = 0.25
    cap: float = 15.0
    random: Callable[[], float] = Random().random  # noqa: S311 - jitter, not a secret
    attempts: int = 0

    def next(self) -> float:
        """The delay before the next attempt; the step doubles with each call until it reaches the cap."""
        step: float = min(self.cap, self.base * 2 ** min(self.attempts, _MAX_DOUBLINGS))
        self.attempts += 1
        return step * self.random()

    def within(self, seconds: float) -> float:
        """The delay before an attempt that is to fall anywhere in a time that the server has named."""
        return seconds * self.random()

    def reset(self) -> None:
        """An attempt went well: the next series starts small."""
        self.attempts = 0
