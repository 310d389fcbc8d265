"""How many frames that are no messages a client may send: each costs as much as one, and nobody counts it as one."""

from typing import Final

_A_SECOND: Final = 50
_AT_ONCE: Final = 1000


class FrameAllowance:
    """Pings, pongs and pieces of messages of one client: 50 a second in the long run, 1,000 at once.

    Times are seconds of any clock that only goes forward.
    """

    __slots__ = ("_paid_at",)

    def __init__(self) -> None:
        self._paid_at = 0.0
        """When all that have come will have been paid for."""

    def take(self, now: float) -> bool:
        """One more has come; whether it may."""
        self._paid_at = max(self._paid_at, now) + 1 / _A_SECOND
        return self._paid_at - now <= _AT_ONCE / _A_SECOND
