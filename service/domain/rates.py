"""How often something may happen: a token bucket for each key, all of one size. Time is an argument, in seconds."""

from itertools import islice
from typing import Final

MOST_KEYS: Final = 100_000


class Rates:
    """`rate` a second in the long run, `burst` at once, for each key by itself.

    A key is kept while its bucket is not full. Of more than three quarters of `most` (but 1,024 at least) those first
    seen are forgotten when room is made, which gives them full buckets again.
    """

    __slots__ = ("_burst_seconds", "_full_at", "_most", "_seconds_each", "_sweep_at")

    def __init__(self, rate: float, burst: float, most: int = MOST_KEYS) -> None:
        self._seconds_each = 1 / rate
        self._burst_seconds = max(burst, 1.0) / rate
        self._full_at: dict[str, float] = {}
        self._most = most
        self._sweep_at = 1024

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._full_at)

    def wait(self, key: str, now: float, count: int = 1) -> float:
        """Seconds until `count` more may happen (more than the burst counts as the burst); 0 if now. Takes nothing."""
        full_at = max(self._full_at.get(key, now), now)
        # A hair of tolerance: sums of seconds are not exact.
        wait = full_at + self._seconds(count) - now - self._burst_seconds
        return wait if wait > 1e-9 else 0.0

    def take(self, key: str, now: float, count: int = 1) -> float:
        """As `wait`; where they may happen, they have."""
        wait = self.wait(key, now, count)
        if wait == 0.0:
            self._full_at[key] = max(self._full_at.get(key, now), now) + self._seconds(count)
            if len(self._full_at) > self._sweep_at:
                self._sweep(now)
        return wait

    def _seconds(self, count: int) -> float:
        return min(count * self._seconds_each, self._burst_seconds)

    def _sweep(self, now: float) -> None:
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        for key in list(islice(self._full_at, max(len(self._full_at) - self._most * 3 // 4, 0))):
            del self._full_at[key]
        # Further off than what is left, so that a sweep is paid for by what came since.
        self._sweep_at = max(min(2 * len(self._full_at), self._most), 1024)
