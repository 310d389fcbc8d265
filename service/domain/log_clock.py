"""A clock that the records of a log drive: it stands while the log is away."""


class LogClock:
    """Milliseconds that have passed for a log, of which at most `cap_ms` between two records.

    Leases are judged by it. Nobody can renew one while the broker is away, so a pause that is longer than any
    between two renewals must not count as silence; and no node's own clock takes part.
    """

    __slots__ = ("_appended_at", "_now", "cap_ms")

    def __init__(self, cap_ms: int) -> None:
        self.cap_ms = cap_ms
        self._appended_at: int | None = None
        self._now = 0

    def read(self, appended_at: int) -> int:
        """A record has been read; gives the time that it was appended at."""
        if self._appended_at is None:
            self._appended_at = appended_at
        passed = appended_at - self._appended_at
        if passed > 0:
            self._appended_at = appended_at
            self._now += min(passed, self.cap_ms)
        return self._now

    def now(self, elapsed_ms: int) -> int:
        """The time so long after the last record was read."""
        return self._now + max(0, min(elapsed_ms, self.cap_ms))
