"""What one connection has subscribed to, and how far each subscription has been served.

A subscription is *live* (the node pushes) or belongs to one *catch-up* (it pulls, together with those that
started with it). A live subscription has been served up to the node's head, so it needs no position of its
own; a catch-up has one cursor for all of its channels. What becomes of each is `domain.subscription_table`.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from lastseen.names import LEFT_OUT_OFFLINE

from service.domain.records import Record
from service.domain.subscription_table import TABLE, Action, Input, State


@dataclass(frozen=True, slots=True)
class Offline:
    """What is left out while that which came to a user's channel while away is delivered.

    What belongs to its task or to its moment, and what is older than offline messages are kept. Behind `upto`
    (per partition the last offset, the head at the connect) everything counts.
    """

    channel: str
    upto: Mapping[int, int]
    since_ms: int

    def leaves_out(self, record: Record) -> bool:
        """Whether a record of the channel is left out."""
        return record.offset <= self.upto.get(record.partition, -1) and (
            record.type in LEFT_OUT_OFFLINE or record.appended_at < self.since_ms
        )


@dataclass(eq=False, slots=True)
class CatchUp:
    """Subscriptions that pull from one cursor. `cursor` is per partition the last offset served."""

    cursor: dict[int, int]
    asked: bool
    """Whether the client asked for a start; else it only wanted to be live and fell into it."""
    channels: dict[str, Mapping[int, int]] = field(default_factory=dict)
    """Per channel where it began: at or above the cursor for one that joined later. Shared, never changed."""
    pulling: bool = False
    """Whether somebody is already pulling for it."""
    offline: Offline | None = None
    """Set where it delivers offline messages."""

    def counts_for(self, record: Record, contradicts: Callable[[Record], bool] = lambda _: False) -> list[str]:
        """The channels of this catch-up that `record` counts for; not its task's, where it contradicts the task."""
        channels = [
            channel
            for channel in record.channels
            if (start := self.channels.get(channel)) is not None
            and record.offset > start.get(record.partition, -2)
            and not (self.offline is not None and channel == self.offline.channel and self.offline.leaves_out(record))
        ]
        if channels and record.task is not None and contradicts(record):
            return [channel for channel in channels if not channel.startswith("task:")]
        return channels

    def of(self, channels: Sequence[str]) -> tuple[str, ...]:
        """Those of some channels that belong to this catch-up."""
        return tuple(channel for channel in channels if channel in self.channels)

    def has_begun_before(self, record: Record) -> bool:
        """Whether all of its channels begin before a record, as where a client names one position for all."""
        partition, offset = record.partition, record.offset
        return all(start.get(partition, -2) < offset for start in self.channels.values())

    def is_ahead_of(self, head: Mapping[int, int]) -> bool:
        """Whether one of its channels begins behind the head: live there, it would get what was had."""
        return any(
            offset > head.get(partition, offset)
            for start in self.channels.values()
            for partition, offset in start.items()
        )

    def served_of(self, channel: str) -> dict[int, int]:
        """How far one of its channels has been served, per partition."""
        start = self.channels[channel]
        return {p: max(offset, start.get(p, offset)) for p, offset in self.cursor.items()}

    def served(self, partition: int, offset: int) -> None:
        """Move the cursor; it is never lowered."""
        if self.cursor.get(partition, -2) < offset:
            self.cursor[partition] = offset

    def reached(self, heads: Mapping[int, int], beside: Container[int]) -> bool:
        """Move the cursor to the heads of the partitions that have nothing for it; whether it is at all heads now.

        `beside` are those that have, or had. Where it is ahead of a head it stays.
        """
        if self.cursor == heads:
            return True
        is_there = True
        for partition, head in heads.items():
            at = self.cursor[partition]
            if at == head:
                continue
            if at < head and partition not in beside:
                self.cursor[partition] = head
            else:
                is_there = False
        return is_there


class Subscriptions:
    """The subscriptions of one connection, by channel."""

    __slots__ = ("_catching_up", "live")

    def __init__(self) -> None:
        self.live: set[str] = set()
        self._catching_up: dict[str, CatchUp] = {}

    def __contains__(self, channel: str) -> bool:
        return channel in self.live or channel in self._catching_up

    def __len__(self) -> int:
        return len(self.live) + len(self._catching_up)

    @property
    def channels(self) -> list[str]:
        """All channels."""
        return [*self.live, *self._catching_up]

    @property
    def catch_ups(self) -> list[CatchUp]:
        """All catch-ups, each once."""
        return list(dict.fromkeys(self._catching_up.values()))

    def catch_up_of(self, channel: str) -> CatchUp | None:
        """The catch-up that a channel belongs to, if it does."""
        return self._catching_up.get(channel)

    def start(self, starts: Mapping[str, Mapping[int, int]]) -> CatchUp:
        """Begin a catch-up that the client asked for, each channel from its own start.

        A channel that was subscribed leaves its former stream.
        """
        cursor: dict[int, int] = {}
        # Mostly it is the same for all.
        for start in {id(start): start for start in starts.values()}.values():
            for partition, offset in start.items():
                cursor[partition] = min(offset, cursor.get(partition, offset))
        return self._start(CatchUp(cursor, asked=True), starts)

    def start_offline(self, offline: Offline, start: Mapping[int, int], head: Mapping[int, int]) -> CatchUp:
        """Begin to deliver offline messages from `start`.

        Where another node has served the client further than this one has come, the catch-up waits at the head all
        the same: others may join it there.
        """
        cursor = {partition: min(offset, head.get(partition, offset)) for partition, offset in start.items()}
        return self._start(CatchUp(cursor, asked=False, offline=offline), {offline.channel: start})

    def _start(self, group: CatchUp, starts: Mapping[str, Mapping[int, int]]) -> CatchUp:
        for channel, start in starts.items():
            self._take(channel, Input.STARTED)
            self._forget(channel)
            self._add(group, channel, start)
        return group

    def begin(self, channel: str, head: Mapping[int, int]) -> CatchUp | None:
        """Subscribe without a start: live at `head`, or joined to the catch-up nobody asked for.

        Joining, an event of both is delivered once: the answer is the catch-up joined.
        """
        group = self._unasked()
        action = self._take(channel, Input.BEGUN if group is None else Input.BEGUN_BESIDE)
        if action is Action.GO_LIVE:
            self.live.add(channel)
        if action is not Action.JOIN or group is None:
            return None
        self._add(group, channel, head)
        return group

    def fall_behind(self, head: Mapping[int, int]) -> tuple[CatchUp, Sequence[str]] | None:
        """All live subscriptions start to catch up from `head`; which ones, or None if none was live."""
        fallen = [name for name in sorted(self.live) if self._take(name, Input.OVERFLOW) is Action.FALL_BEHIND]
        if not fallen:
            return None
        group = self._unasked() or CatchUp(dict(head), asked=False)
        for channel in fallen:
            self._forget(channel)
            self._add(group, channel, head)
        return group, fallen

    def finish(self, group: CatchUp) -> list[str]:
        """The catch-up has reached the head: its channels are live; which ones."""
        channels = [name for name in group.channels if self._take(name, Input.AT_HEAD) is Action.GO_LIVE]
        for channel in channels:
            self._forget(channel)
        self.live.update(channels)
        return channels

    def remove(self, channel: str) -> bool:
        """End a subscription; whether there was one."""
        if self._take(channel, Input.ENDED) is not Action.DROP:
            return False
        self._forget(channel)
        return True

    def state_of(self, channel: str) -> State:
        """What a channel is to the connection."""
        if channel in self.live:
            return State.LIVE
        return State.CATCHING_UP if channel in self._catching_up else State.ABSENT

    def _take(self, channel: str, what: Input) -> Action:
        return TABLE[self.state_of(channel)][what].action

    def _unasked(self) -> CatchUp | None:
        """The catch-up that the client did not ask for; there is one at most."""
        return next((group for group in self._catching_up.values() if not group.asked), None)

    def _add(self, group: CatchUp, channel: str, start: Mapping[int, int]) -> None:
        group.channels[channel] = start
        self._catching_up[channel] = group

    def _forget(self, channel: str) -> None:
        self.live.discard(channel)
        group = self._catching_up.pop(channel, None)
        if group is not None:
            del group.channels[channel]
