"""Reading the topic of commands, as every runner does: all partitions, from a time on, over every interruption."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from hashlib import blake2b
from typing import Final, NoReturn, Protocol
from uuid import UUID

from lastseen.backoff import Backoff
from lastseen.commands import Command, UnreadableCommand, decode

from service.adapters.clock import SystemClock
from service.adapters.kafka.log import open_log
from service.cancellation import heed_cancellation, is_cancelled
from service.domain.errors import LogUnavailable, OffsetsGone, Unavailable
from service.ports import Clock, CommandBatch, CommandTaker, EventLog, Place, PlacedCommand, TailBatch

logger = logging.getLogger(__name__)

_LONGEST_WAIT: Final = 5.0


class CommandTopic(EventLog, Protocol):
    """The topic, opened."""

    @property
    def topic_id(self) -> UUID:
        """Its own: another topic of the same name has another."""
        ...


Open = Callable[[], AbstractAsyncContextManager[CommandTopic]]


class CommandReader:
    """`CommandSource` on a topic that `open_` gives, beginning with what was appended up to `reach_seconds` ago.

    Where it can't go on from where it was (retention has passed it, the topic was made anew) it begins so once more:
    whoever applies commands recognises those that come again.
    """

    def __init__(self, open_: Open, reach_seconds: float, clock: Clock | None = None) -> None:
        self._open = open_
        self._reach_ms = int(reach_seconds * 1000)
        self._clock = clock or SystemClock()
        self._next: dict[int, int] = {}
        self._topic: CommandTopic | None = None
        """As long as it is open."""

    async def follow(self, take: Callable[[Command], None]) -> NoReturn:
        """Give every command to `take`, those of a task in their order, until cancelled.

        While Kafka is away it tries again, for ever. What is no command of this version is passed over.
        """
        await self.feed(_Commands(take))

    async def feed(self, taker: CommandTaker) -> NoReturn:
        """As `follow`, with the places."""
        backoff = Backoff(base=0.2, cap=_LONGEST_WAIT)
        while True:
            try:
                async with self._open() as topic:
                    start = await self._start(topic)
                    async with topic.tail(start) as tail:
                        self._next = dict(start)
                        logger.info("reading commands from %s", ", ".join(f"{p}:{start[p]}" for p in sorted(start)))
                        self._topic = topic
                        taker.begin(_name_of(topic), start)
                        try:
                            while True:
                                heed_cancellation()
                                batch = await tail.read()
                                backoff.reset()
                                taker.take(_commands(batch))
                                self._next |= batch.next
                        finally:
                            self._topic = None
            except (Unavailable, asyncio.CancelledError) as error:
                if is_cancelled():
                    # Kafka's client swallows a cancellation while it closes: then what it was closed for comes out.
                    raise asyncio.CancelledError from error
                if isinstance(error, OffsetsGone):
                    self._next = {}
                wait = backoff.next()
                logger.warning("reading commands again in %.1f s: %s", wait, error)
                await asyncio.sleep(wait)

    async def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[CommandBatch, None]:
        if self._topic is None:
            raise LogUnavailable("the topic of commands does not answer")
        async with aclosing(self._topic.read(partition, start, stop)) as batches:
            async for batch in batches:
                yield _commands(batch)

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


class _Commands:
    """Passes on what is read, whatever its place."""

    def __init__(self, take: Callable[[Command], None]) -> None:
        self._take = take

    def begin(self, topic: str, start: Mapping[int, int]) -> None:
        """Whoever applies commands does not ask where they stand."""

    def take(self, batch: CommandBatch) -> None:
        for _, command in batch.commands:
            self._take(command)


def _name_of(topic: CommandTopic) -> str:
    """Short enough for the epoch of a position."""
    return blake2b(topic.topic_id.bytes, digest_size=6).hexdigest()


def _commands(batch: TailBatch) -> CommandBatch:
    found = []
    for record in batch.records:
        try:
            command = decode(record.value, record.headers)
        except UnreadableCommand as error:
            logger.warning("passing over partition %d, offset %d: %s", record.partition, record.offset, error)
        else:
            found.append(PlacedCommand(Place(record.partition, record.offset), command))
    return CommandBatch(found, batch.next)
