"""What came to the user while away: whether all of it is here, and what of it was had before its turn."""

from dataclasses import dataclass, field
from typing import Final

from lastseen.positions import Position
from lastseen.subscription import NOWHERE, Mark, Subscription
from lastseen.transitions import Input

MAX_PLACES: Final = 10_000
"""Events remembered as had before their turn; beyond, the oldest are forgotten and come once more."""


@dataclass(slots=True)
class Inbox:
    """The offline messages of the own user channel, over all connections of a session.

    The service delivers them, from the user's durable cursor on, on a connection that comes without a position. So
    as long as some are owed the session comes without. Where the service can't have them it begins the channel live:
    what comes then has its turn behind them, is handed out all the same, and is left out when its turn comes.
    """

    channel: str = ""
    """Known from the first greeting on."""
    owed: bool = True
    awaited: bool = False
    """Whether the present connection brings them, as far as it can, and has yet to say from where."""
    coming: bool = False
    """Whether the present connection delivers them."""
    began_live: bool = False
    """Whether the present connection has just begun the channel live, and not said yet why."""
    _before: Mark | None = None
    """Where the channel stood when it began live although they were owed."""
    _reached: Mark | None = None
    """How far it had come by itself, live, when it began live once more."""
    _had: dict[tuple[str, int, int], None] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the channel's position passes over nothing that is owed."""
        return self.coming or not self.owed

    def greeted(self, subscription: Subscription, position: Position, *, live: bool) -> bool:
        """A connection that came without a position begins the channel at this one.

        Whether that will do: another client with the same cursor may have confirmed more than came here.
        """
        self.coming, self.began_live = not live, live
        if live:
            if self._before is None:
                self._before = subscription.mark()
            else:
                self._reached = self._reached or subscription.mark()
            return True
        before, self._before = self._before, None
        reached, self._reached = self._reached, None
        if before is None:
            return not subscription.lies_before(position)
        if before == NOWHERE:
            subscription.reset(reached or subscription.mark())
            if subscription.lies_before(position):
                subscription.lower(position)
                return False
        subscription.reset(before)
        return not subscription.lies_before(position)

    def is_new(self, epoch: str, partition: int, offset: int) -> bool:
        """Whether an event that counts for the channel was not handed out yet; from now on it was."""
        place = (epoch, partition, offset)
        if self._before is None:
            return place not in self._had
        if len(self._had) >= MAX_PLACES:
            del self._had[next(iter(self._had))]
        self._had[place] = None
        return True

    def explain(self, *, delayed: bool) -> None:
        """Right behind a channel that began live the service says that they are `delayed`; else there are none."""
        self.began_live = False
        if not delayed:
            self.settle()

    def caught_up(self) -> None:
        """The channel is live; if they were coming, they are all here."""
        if self.coming:
            self.settle()

    def settle(self) -> None:
        """Nothing is owed: they are here, or the channel was asked for from elsewhere."""
        self.owed = self.awaited = self.coming = self.began_live = False
        self._before = self._reached = None
        self._had.clear()

    def want(self, subscription: Subscription) -> None:
        """Somebody wants all of them from the cursor on, whatever has passed by: a new connection brings them."""
        self.settle()
        self.owed = True
        subscription.take(Input.ENDED)
        subscription.forget()

    def disconnected(self) -> None:
        """The connection is gone, and what was coming has to come again."""
        self.awaited = self.coming = self.began_live = False
