"""Reading the topic of commands, as every runner does: all partitions, from a time on, over every interruption."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn

from lastseen.backoff import Backoff
from lastseen.commands import Command, UnreadableCommand, decode

from service.adapters.clock import SystemClock
from service.adapters.kafka.log import open_log
from service.domain.errors import OffsetsGone, Unavailable
from service.domain.records import RawRecord
from service.ports import Clock, EventLog

logger = logging.getLogger(__name__)

_LONGEST_WAIT: Final = 5.0

Open = Callable[[], AbstractAsyncContextManager[EventLog]]


class CommandReader:
    """Reads a topic that `open_` gives, beginning with what was appended up to `reach_seconds` ago.

    Where it can't go on from where it was (retention has passed it, the topic was made anew) it begins so once more:
    whoever applies commands recognises those that come again.
    """

    def __init__(self, open_: Open, reach_seconds: float, clock: Clock | None = None) -> None:
        self._open = open_
        self._reach_ms = int(reach_seconds * 1000)
        self._clock = clock or SystemClock()
        self._next: dict[int, int] = {}

    async def follow(self, take: Callable[[Command], None]) -> NoReturn:
        """Give every command to `take`, those of a task in their order, until cancelled.

        While Kafka is away it tries again, for ever. What is no command of this version is passed over.
        """
        backoff = Backoff(base=0.2, cap=_LONGEST_WAIT)
        while True:
            try:
                async with self._open() as topic:
                    start = await self._start(topic)
                    async with topic.tail(start) as tail:
                        self._next = dict(start)
                        logger.info("reading commands from %s", ", ".join(f"{p}:{start[p]}" for p in sorted(start)))
                        while True:
                            batch = await tail.read()
                            backoff.reset()
                            for command in _commands(batch.records):
                                take(command)
                            self._next |= batch.next
            except (Unavailable, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    # Kafka's client swallows a cancellation while it closes: then what it was closed for comes out.
                    raise asyncio.CancelledError from error
                if isinstance(error, OffsetsGone):
                    self._next = {}
                wait = backoff.next()
                logger.warning("reading commands again in %.1f s: %s", wait, error)
                await asyncio.sleep(wait)

    async def _start(self, topic: EventLog) -> Mapping[int, int]:
        # First: what is appended while the times are looked up lies behind these ends.
        bounds = await topic.bounds()
        if bounds.keys() == self._next.keys() and all(
            bounds[partition].first <= at <= bounds[partition].next for partition, at in self._next.items()
        ):
            return self._next
        since = await topic.offsets_at(self._clock.now_ms() - self._reach_ms)
        return {
            partition: held.next if (found := since.get(partition)) is None else min(found, held.next)
            for partition, held in bounds.items()
        }


def read_commands(bootstrap: str, topic: str, reach_seconds: float, *, timeout: float = 10.0) -> CommandReader:
    """A reader of the Kafka topic; nothing is asked of Kafka before it follows. `timeout` bounds every wait for it."""
    return CommandReader(lambda: open_log(bootstrap, topic, timeout=timeout), reach_seconds)


def _commands(records: Iterable[RawRecord]) -> Iterable[Command]:
    for record in records:
        try:
            yield decode(record.value, record.headers)
        except UnreadableCommand as error:
            logger.warning("passing over partition %d, offset %d: %s", record.partition, record.offset, error)
