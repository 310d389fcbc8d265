"""What the Kafka client has to say, seldom: while a broker is away it says so ten times a second, in every process."""

import logging
import time
from collections.abc import Callable
from typing import Final

CLIENT: Final = "aiokafka"
EVERY_SECONDS: Final = 30.0


class Seldom(logging.Filter):
    """Lets each kind of message of the Kafka client pass once in EVERY_SECONDS, and counts those it held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # By the text before its arguments are put in: as many as there are log calls in the client.
        self._next: dict[tuple[str, str], float] = {}
        self._held_back: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        if record.name.partition(".")[0] != CLIENT:
            return True
        kind = (record.name, str(record.msg))
        now = self._clock()
        if now < self._next.get(kind, now):
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return False
        self._next[kind] = now + EVERY_SECONDS
        if held_back := self._held_back.pop(kind, 0):
            record.msg = f"{record.getMessage()} (and {held_back} more like it)"
            record.args = None
        return True


def log_seldom() -> None:
    """Install it on whatever the process logs to."""
    seldom = Seldom()
    for handler in logging.getLogger().handlers:
        handler.addFilter(seldom)
