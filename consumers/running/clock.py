"""A clock that never goes back and does not stand still while the machine sleeps."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds since some moment."""
    return time.clock_gettime(_CLOCK)
