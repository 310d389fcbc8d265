"""The time of this machine."""

import time


class SystemClock:
    """The port `Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
