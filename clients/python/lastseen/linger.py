"""How long something to be sent may wait for more to share its request."""

from typing import Final

MAX_SECONDS: Final = 1.0


def checked_linger(linger: float) -> float:
    """`linger`. Raises ValueError where it is no such time."""
    if not 0 <= linger <= MAX_SECONDS:
        raise ValueError(f"linger is a number of seconds from 0 to {MAX_SECONDS:g}, not {linger}")
    return linger
