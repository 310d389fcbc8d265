"""One subscription, seen from the client: its state on this connection, and a position that outlives it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lastseen.positions import Position
from lastseen.transitions import TABLE, Effect, Input, State

Mark = tuple[str, dict[int, int] | None]
"""Epoch and offsets of a subscription, to go back to."""
NOWHERE: Final[Mark] = ("", None)
NEVER: Final = -2
"""Below every offset: a partition that the position leaves out is wanted from its first event."""


@dataclass(slots=True)
class Subscription:
    """The client's side of one channel.

    `epoch` is empty while only the word `earliest` was heard: the offsets are then of whatever epoch the
    server turns out to be in. `offsets` is None before anything began.
    """

    channel: str
    wanted: bool = False
    """The caller subscribed; to be subscribed again on the next connection."""
    automatic: bool = False
    """`connection_established` named it; the `after` of the next connect brings it back."""
    start: Mapping[str, object] | None = None
    """The start that the caller asked for and that no result has confirmed yet."""
    is_read: bool = False
    """Somebody takes every event of it: what was handed out may be confirmed, once there is no `start` left."""
    state: State = State.IDLE
    epoch: str = ""
    offsets: dict[int, int] | None = None
    _left: set[str] = field(default_factory=set)
    """The epochs that this channel has crossed out of: their tokens say nothing any more."""

    def take(self, input_: Input) -> Effect:
        """Move to the next state; what is to be done with the position."""
        self.state, effect = TABLE[self.state][input_]
        return effect

    def count(self, input_: Input, partition: int, offset: int) -> bool:
        """Whether an event is delivered; if so the position has advanced to it."""
        if self.take(input_) is not Effect.COUNT:
            return False
        offsets = self.offsets
        if offsets is None:
            offsets = self.offsets = {}
        if offset <= offsets.get(partition, NEVER):
            return False
        offsets[partition] = offset
        return True

    def apply(self, input_: Input, position: Position) -> bool:
        """Take a message that has a position. Whether the channel crossed into another epoch unannounced."""
        match self.take(input_):
            case Effect.RAISE | Effect.GAP | Effect.BEGIN:
                return self._raise(position)
            case Effect.KEEP | Effect.COUNT:
                return False

    def begin_again(self, position: Position) -> None:
        """The server confirmed a start that the caller asked for: what was seen before is forgotten."""
        if self.take(Input.RESULT_WITH_START) is Effect.BEGIN:
            self._set(position)

    def cross(self, requested: Position, earliest: Position) -> None:
        """A gap with reason `epoch`.

        A channel that was in the new epoch before the gap keeps what it has there: the request was for the
        sake of another channel that shared it.
        """
        if self.take(Input.GAP) is not Effect.GAP:
            return
        if self.epoch == earliest.epoch != requested.epoch and self.offsets is not None:
            self._raise(earliest)
        else:
            self._set(earliest)

    def forget(self) -> None:
        """Drop the position: what comes next is delivered, seen before or not."""
        self.epoch = ""
        self.offsets = None

    def mark(self) -> Mark:
        """Where it stands."""
        return self.epoch, None if self.offsets is None else dict(self.offsets)

    def reset(self, mark: Mark) -> None:
        """Stand there again."""
        self.epoch, offsets = mark
        self.offsets = None if offsets is None else dict(offsets)

    def lower(self, position: Position) -> None:
        """Go back to what lies at or below another position of its epoch, too."""
        offsets = self.offsets or {}
        self.offsets = {p: min(offset, offsets[p]) for p, offset in position.offsets.items() if p in offsets}

    def lies_before(self, position: Position) -> bool:
        """Whether something lies between where it stands and a later position of its epoch."""
        if self.offsets is None or self.epoch != position.epoch:
            return False
        return any(offset > self.offsets.get(p, NEVER) for p, offset in position.offsets.items())

    def position(self, epoch: str) -> Position | None:
        """The position; `epoch` is the server's, where the channel has heard none of its own."""
        if self.offsets is None:
            return None
        return Position(self.epoch or (epoch if self.offsets else ""), self.offsets.copy())

    def _set(self, position: Position) -> None:
        if self.epoch and self.epoch != position.epoch:
            self._left.add(self.epoch)
        self.epoch = position.epoch
        self._left.discard(position.epoch)
        self.offsets = dict(position.offsets)

    def _raise(self, position: Position) -> bool:
        if self.epoch and position.epoch and self.epoch != position.epoch:
            if position.epoch in self._left:
                return False
            self._set(position)
            return True
        self.epoch = self.epoch or position.epoch
        if self.offsets is None:
            self.offsets = dict(position.offsets)
            return False
        for partition, offset in position.offsets.items():
            if offset > self.offsets.get(partition, NEVER):
                self.offsets[partition] = offset
        return False
