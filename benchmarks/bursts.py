"""Events in bursts to many subscribers: each burst begins when the one before it has reached all of them.

So nobody falls behind, and each subscriber's bytes must be those of the frames, to the last one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lastseen.record import NewRecord, encode

from benchmarks.crowded import Sink
from benchmarks.events import make_event
from service.adapters.kafka.log import KafkaLog
from service.domain.frames import event_frame
from service.domain.records import Record
from service.ports import Place

PROJECT, TASK = "fanout", "fanout"
CHANNEL = f"task:{TASK}"

Send = Callable[[Sequence[NewRecord]], Awaitable[int]]
"""Has one burst sent to every subscriber; how many bytes each is to get."""


@dataclass(frozen=True, slots=True)
class Case:
    """So many subscribers, so many events at once, and so often."""

    subscribers: int
    burst: int
    bursts: int

    @property
    def per_burst(self) -> int:
        return self.subscribers * self.burst

    @property
    def told(self) -> str:
        subscribers = "1 subscriber" if self.subscribers == 1 else f"{self.subscribers:,} subscribers"
        events = "1 event" if self.burst == 1 else f"bursts of {self.burst} events"
        return f"{subscribers} of one channel, {events}"


class Delivered(NamedTuple):
    """What a case has taken: seconds, and CPU seconds of who delivers."""

    deliveries: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.deliveries / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.deliveries / self.cpu_seconds


async def deliver(case: Case, send: Send, viewers: Sequence[Sink], cpu_seconds: Callable[[], float]) -> Delivered:
    """Deliver a case to `viewers`, which are all its subscribers; `cpu_seconds` is what that has used so far."""
    used, started = cpu_seconds(), time.perf_counter()
    for _ in range(case.bursts):
        size = await send(make_burst(case))
        await asyncio.gather(*(some.expect(size) for some in viewers))
    return Delivered(case.bursts * case.per_burst, time.perf_counter() - started, cpu_seconds() - used)


def make_burst(case: Case) -> list[NewRecord]:
    """New events, as many as come at once."""
    return [encode(make_event(PROJECT, TASK)) for _ in range(case.burst)]


def through(log: KafkaLog) -> Send:
    """Appends a burst, for nodes to deliver."""

    async def send(records: Sequence[NewRecord]) -> int:
        return len(frames(records, await log.append(records)))

    return send


def frames(records: Sequence[NewRecord], places: Sequence[Place]) -> bytes:
    """A burst as a subscriber gets it."""
    return b"".join(
        event_frame(Record(place.partition, place.offset, 0, "", "", (CHANNEL,), None, record.value))
        for record, place in zip(records, places, strict=True)
    )
