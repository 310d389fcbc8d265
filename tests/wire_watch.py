"""One connection as it stands on the wire, held against what the log owes: nothing missing, nothing twice, no
event without a right to it, each in the order of the log. It knows no more than the protocol's words.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lastseen.names import LEFT_OUT_OFFLINE
from lastseen.notices import Message
from lastseen.positions import Position

from service.domain.identity import Identity
from tests.oracle import Cut, Oracle

WAITING = ("unavailable", "history_unavailable")
STARTS = ("after", "since", "last")
Fault = Literal["lost", "doubled", "out of order", "other"]


@dataclass
class Stream:
    """A subscription: whether it is live, and per partition up to where all that it is owed has come."""

    live: bool
    at: dict[int, int]
    left_out_upto: Mapping[int, int] = field(default_factory=dict)
    """What belongs to its moment need not come up to there: offline messages."""
    came: set[tuple[int, int]] = field(default_factory=set)
    """The places of the events that have."""


@dataclass(frozen=True)
class _Asked:
    """A `subscribe`, and what the log held when the node took it up."""

    after: Position | None
    has_start: bool
    held: Cut


def _raised(cut: Cut, other: Cut) -> Cut:
    return {partition: max(at, other.get(partition, 0)) for partition, at in cut.items()}


class Watch:
    """What is wrong with a connection is gathered in `wrong`, each a sentence."""

    def __init__(
        self,
        oracle: Oracle,
        identity: Identity,
        began_at: Cut,
        *,
        after: str | None = None,
        heard: Callable[[Cut], Cut] = lambda high: high,
    ) -> None:
        self._oracle = oracle
        self._identity = identity
        self._began_at = began_at
        """What the log held when the connection began."""
        self._heard = heard
        """What a node that has read up to there may have heard of tasks: it asks a projection, which is further on."""
        self.streams: dict[str, Stream] = {}
        self.wrong: list[str] = []
        self.seen: dict[str, int] = {}
        """How often what has happened."""
        self.faults: Counter[Fault] = Counter()
        """What is wrong, by kind: events lost, come again, come behind later ones, and whatever else."""
        self._asked: dict[object, _Asked] = {}
        self._after = None if after is None else Position.parse(after)
        self._names_start = after is not None
        """Whether the client has said where to begin: then it may get again what it had."""
        self._highest: dict[int, int] = {}

    def ask(self, message: Message, held: Cut) -> None:
        """The client's message is taken up; the log holds what lies below `held` now."""
        if message["type"] == "subscribe":
            after = Position.parse(message["after"]) if "after" in message else None
            has_start = any(start in message for start in STARTS)
            self._names_start = self._names_start or has_start
            self._asked[message["ref"]] = _Asked(after, has_start, held)

    def hear(self, message: Message, low: Cut, high: Cut) -> None:
        """The node writes a message; it has read the log up to somewhere from `low` to `high`."""
        if "offset" in message:
            self._event(message, low, high)
            return
        self._count(message["type"])
        match message["type"]:
            case "connection_established":
                self._established(message, low, high)
            case "subscription_result":
                self._subscribed(message, low, high)
            case "caught_up":
                for channel in message["channels"]:
                    self._reached(channel, message["position"], live=True)
            case "fell_behind":
                for channel in message["channels"]:
                    self._reached(channel, message["position"], live=False)
            case "ping":
                for channel, stream in self.streams.items():
                    if stream.live:
                        self._reached(channel, message["position"], live=True)
            case "unsubscribed":
                channel = message["channel"]
                if self.streams.pop(channel, None) is None:
                    self._say(f"{channel} was ended and had not begun")
                if not self._oracle.may_lack(self._identity, channel, low, high, self._heard(high)):
                    self._say(f"{channel} was ended ({message['reason']}) although the right to it is held")
            case "unsubscription_result":
                self.streams.pop(message["channel"], None)
            case "error":
                self._error(message, high)
            case "pong":
                pass
            case _:
                self._say(f"unexpected: {message}")

    def close(self, code: int, reason: str, high: Cut) -> None:
        """The node closes the connection."""
        self._count(f"{code} {reason}")

    def refuse_project(self, project: str, high: Cut) -> None:
        """The connect was denied because of its project."""
        self._deny(f"project:{project}", self._began_at, high)

    def rest(self, head: Cut) -> None:
        """Nothing is on its way any more and the node has read up to `head`: all is delivered that may be."""
        for channel, stream in self.streams.items():
            if not stream.live:
                self._say(f"{channel} still catches up")
            if not self._oracle.may_read(self._identity, channel, head):
                self._say(f"{channel} goes on without a right to it")
            for partition, next_ in head.items():
                self._complete(channel, stream, partition, next_ - 1)

    def _established(self, message: Message, low: Cut, high: Cut) -> None:
        heads = {s["channel"]: Position.parse(s["position"]).offsets for s in message["subscriptions"]}
        for entry in message["subscriptions"]:
            channel = entry["channel"]
            stream = Stream(entry["live"], dict(heads[channel]))
            if heads["broadcast"] != heads[channel]:
                stream.left_out_upto = heads["broadcast"]
            self._begin(channel, stream, self._after, low, high)

    def _subscribed(self, message: Message, low: Cut, high: Cut) -> None:
        channel = message["channel"]
        asked = self._asked[message["ref"]]
        if asked.has_start or channel not in self.streams:
            at = dict(Position.parse(message["position"]).offsets)
            self._begin(channel, Stream(not asked.has_start, at), asked.after, low, high)

    def _begin(self, channel: str, stream: Stream, after: Position | None, low: Cut, high: Cut) -> None:
        self.streams[channel] = stream
        # What the client has seen elsewhere, the node has read before it judges.
        seen = {} if after is None else {partition: offset + 1 for partition, offset in after.offsets.items()}
        low, high = _raised(low, seen), _raised(high, seen)
        if not self._oracle.may_hold(self._identity, channel, low, high, self._heard(high)):
            self._say(f"{channel} began without a right to it")

    def _reached(self, channel: str, token: str, *, live: bool) -> None:
        stream = self.streams.get(channel)
        if stream is None:
            self._say(f"{channel} is told of and is not subscribed")
            return
        if not stream.live and not live:
            self._say(f"{channel} fell behind and was not live")
        stream.live = live
        for partition, offset in Position.parse(token).offsets.items():
            self._complete(channel, stream, partition, offset)

    def _error(self, message: Message, high: Cut) -> None:
        self._count(f"error {message['code']}")
        if message["code"] == "access_denied":
            self._deny(message["channel"], self._asked[message["ref"]].held, high)
        elif message["code"] not in WAITING:
            self._say(f"unexpected: {message}")

    def _deny(self, channel: str, held: Cut, high: Cut) -> None:
        # A denial is final: it counts everything that the log held when it was asked.
        high = _raised(high, held)
        if not self._oracle.may_lack(self._identity, channel, held, high, self._heard(high)):
            self._say(f"{channel} was denied although the log held the right when it was asked for")

    def _event(self, event: Message, low: Cut, high: Cut) -> None:
        partition, offset = event["partition"], event["offset"]
        replay = event.get("replay")
        self._count("live" if replay is None else "replayed")
        place = f"{partition}:{offset}"
        if replay is None:
            counted = [name for name in event["channels"] if (s := self.streams.get(name)) is not None and s.live]
            # What a record changes holds from itself on; the end of a project still goes to its members.
            upto = offset if event["type"] == "project_deleted" else offset + 1
            low, high = {**low, partition: upto}, {**high, partition: upto}
        else:
            counted = [name for name in replay if name in self.streams]
            if len(counted) < len(replay):
                self._say(f"{place} was replayed for {replay}, of which only {counted} are subscribed")
        if not counted:
            self._say(f"{place} counts for nothing: {event['channels']}")
        for channel in counted:
            if not self._oracle.may_hold(self._identity, channel, low, high, self._heard(high)):
                self._say(
                    f"{place} came {'live' if replay is None else 'replayed'} for {channel} without a right to it"
                )
            stream = self.streams[channel]
            if offset <= stream.at.get(partition, -1):
                fault: Fault = "doubled" if (partition, offset) in stream.came else "out of order"
                self._say(f"{place} came for {channel}, which had come to {stream.at[partition]}", fault)
            stream.came.add((partition, offset))
            self._complete(channel, stream, partition, offset - 1)
            owed = self._oracle.owed(channel, partition, offset - 1, offset)
            if not owed:
                self._say(f"{place} came for {channel} and was not owed")
            # An admin may read a task of which the node does not know how it began.
            elif counted == [channel] and not self._identity.is_admin and self._oracle.is_kept_from(channel, owed[0]):
                self._say(f"{place} came for {channel} and contradicts how it began")
            stream.at[partition] = max(offset, stream.at.get(partition, -1))
        if not self._names_start:
            if offset <= self._highest.get(partition, -1):
                self._say(f"{place} came behind {self._highest[partition]} to one who never named a start")
            self._highest[partition] = offset

    def _complete(self, channel: str, stream: Stream, partition: int, upto: int) -> None:
        """All that is owed up to there has come."""
        at = stream.at.get(partition, -1)
        for one in self._oracle.owed(channel, partition, at, upto):
            is_of_its_moment = one.type in LEFT_OUT_OFFLINE and one.offset <= stream.left_out_upto.get(partition, -1)
            if not is_of_its_moment and not self._oracle.may_be_kept_from(channel, one):
                self._say(f"{channel} lost {partition}:{one.offset} ({one.type})", "lost")
        stream.at[partition] = max(at, upto)

    def _count(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def _say(self, problem: str, fault: Fault = "other") -> None:
        self.faults[fault] += 1
        self.wrong.append(f"{self._identity.user_id}: {problem}")
