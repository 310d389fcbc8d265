"""Events that were handed to a blocking producer and wait for Kafka's answer: bounded, and each with a deadline."""

import threading
import time
from concurrent.futures import Future, wait
from typing import Final

from lastseen.emitting import Emitted
from lastseen.errors import LastseenError
from lastseen.refusals import unconfirmed

MAX_EVENTS: Final = 2_000
MAX_BYTES: Final = 8 * 1024 * 1024


class Pending(Future[Emitted]):
    """The answer to come for the event `id`.

    `result()` and `exception()` wait no longer than until `timeout` seconds after the event was taken on, and
    then give LogUnavailable; an answer that comes later is there when they are called again. Callbacks run
    when Kafka has answered, in the producer's thread: they must not wait for another event.
    """

    def __init__(self, id_: str, kafka: str, timeout: float) -> None:
        super().__init__()
        self.id = id_
        self.deadline = time.monotonic() + timeout
        self._kafka = kafka
        self._timeout = timeout
        # What is on its way can't be called back.
        self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> Emitted:
        """The place in the log, as `Future.result`. Raises what the emitter's calls raise."""
        try:
            return super().result(self._left(timeout))
        except TimeoutError:
            if time.monotonic() < self.deadline:
                raise
            raise self.late() from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `Future.exception`."""
        try:
            return super().exception(self._left(timeout))
        except TimeoutError:
            if time.monotonic() < self.deadline:
                raise
            return self.late()

    def late(self) -> LastseenError:
        """The error of having waited too long."""
        return unconfirmed(self._kafka, self.id, f"no answer within {self._timeout:g} s")

    def _left(self, timeout: float | None) -> float:
        left = max(0.0, self.deadline - time.monotonic())
        return left if timeout is None else min(left, timeout)


class InFlight:
    """What is under way: at most MAX_EVENTS and MAX_BYTES, beyond which `add` waits. For several threads."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._room = threading.Condition()
        self._sizes: dict[Pending, int] = {}
        self._bytes = 0
        self._settled: set[Pending] = set()

    def add(self, pending: Pending, size: int) -> bool:
        """Take it on; False if until its deadline there was no room. An event of any size finds room alone."""
        with self._room:
            while self._sizes and (len(self._sizes) >= self._max_events or self._bytes + size > self._max_bytes):
                if not self._room.wait(max(0.0, pending.deadline - time.monotonic())):
                    return False
            self._sizes[pending] = size
            self._bytes += size
            return True

    def settle(self, pending: Pending, outcome: Emitted | LastseenError) -> None:
        """Answer it. Whoever comes second, after another thread or another answer, changes nothing."""
        with self._room:
            if pending not in self._sizes or pending in self._settled:
                return
            self._settled.add(pending)
        # Callbacks run in here, and may emit.
        if isinstance(outcome, LastseenError):
            pending.set_exception(outcome)
        else:
            pending.set_result(outcome)
        with self._room:
            self._bytes -= self._sizes.pop(pending)
            self._settled.remove(pending)
            self._room.notify_all()

    def wait(self, timeout: float) -> int:
        """Wait until what is under way now is answered; how many events are not, after `timeout` seconds."""
        with self._room:
            under_way = list(self._sizes)
        return len(wait(under_way, timeout).not_done)

    def give_up(self, error: LastseenError) -> None:
        """Answer all that is under way with `error`."""
        with self._room:
            under_way = list(self._sizes)
        for pending in under_way:
            self.settle(pending, error)
