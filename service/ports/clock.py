"""Time."""

from typing import Protocol


class Clock(Protocol):
    """Time as an argument."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...
