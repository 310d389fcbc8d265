"""Commands to tasks, sent and read."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

from lastseen.commands import Command

from service.ports.log import Place


class Commands(Protocol):
    """The Kafka topic `commands`: what the runners of tasks are told."""

    async def append(self, command: Command) -> None:
        """Append a command; it is there once all replicas in sync have it. A task's commands keep their order.

        Raises LogUnavailable; then it may have been appended all the same, and a retry with the same id is
        recognised by whoever applies it.
        """
        ...


class PlacedCommand(NamedTuple):
    """A command, and where it stands in the topic."""

    place: Place
    command: Command


class CommandBatch(NamedTuple):
    """Commands in the order of each partition, and how far the reading has come."""

    commands: Sequence[PlacedCommand]
    next: Mapping[int, int]
    """Per partition that moved: the offset read next."""


class CommandTaker(Protocol):
    """Whom a `CommandSource` tells what it reads. Never waits or raises."""

    def begin(self, topic: str, start: Mapping[int, int]) -> None:
        """What follows is read from these offsets on, each partition's; called anew where the reading is.

        `topic` names the very topic: one that was made anew has another name, and its offsets another meaning.
        """
        ...

    def take(self, batch: CommandBatch) -> None:
        """What comes next. What is no command of this version is left out."""
        ...


class CommandSource(Protocol):
    """The topic `commands` as it is read by one who wants all of it."""

    async def feed(self, taker: CommandTaker) -> NoReturn:
        """Tell `taker` every command, until cancelled; while the topic is away it tries again."""
        ...

    def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[CommandBatch, None]:
        """What lies in `[start, stop)`, which the feed has passed, while it is being fed; ends at `stop`.

        Raises LogUnavailable, and OffsetsGone where `start` is not held any more.
        """
        ...
