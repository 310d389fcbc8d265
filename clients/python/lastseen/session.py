"""The client's side of a conversation, decided purely: no I/O, no clock, no event loop.

A `Session` outlives its connections. Drive it so: `resume()` says what to send on a new connection, every
message of the server goes through `receive()`, `on_disconnected()` ends the connection. What it hands out
is each event once per channel, in the order of the log, whatever the connection does; the rules are those
of the protocol's "What a client must do".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from lastseen.asked import Asked, Questions
from lastseen.errors import ProtocolError
from lastseen.inbox import Inbox
from lastseen.notices import (
    Answer,
    Ask,
    Begun,
    CaughtUp,
    Delivery,
    Established,
    FellBehind,
    Gap,
    Message,
    Notice,
    OfflineDelayed,
    Ping,
    Refused,
    TokenExpiring,
    Unsubscribed,
)
from lastseen.positions import EARLIEST, Position, smallest_of
from lastseen.subscription import Subscription
from lastseen.transitions import Input, State

StartKind = Literal["after", "since", "last"]
_WAITING: Final = frozenset({"unavailable", "history_unavailable"})


@dataclass(frozen=True, slots=True)
class Resume:
    """What brings a connection to where the session is."""

    after: str | None
    """The token for the query of the connect; None to leave it out."""
    messages: tuple[Message, ...]
    """To send once connected, in this order."""


@dataclass(slots=True)
class Session:
    """All subscriptions of one client. `epoch` is the server's, as last heard."""

    epoch: str = ""
    _subscriptions: dict[str, Subscription] = field(default_factory=dict)
    _questions: Questions = field(default_factory=Questions)
    _inbox: Inbox = field(default_factory=Inbox)
    _brought_back: bool = False
    """Whether the present connection came with a position."""
    _partitions: int = 0
    """How many partitions the positions of the automatic channels name together, as of the last connect."""

    def subscribe(self, channel: str, start: tuple[StartKind, object] | None = None) -> Message:
        """Want a channel; the message that says so, to be sent on an open connection.

        With a start, its position is forgotten when the server confirms it: what was seen comes again.
        Without one a channel that was had before goes on from its position, a new one begins live.
        """
        subscription = self._subscription(channel)
        subscription.wanted = True
        if start is not None:
            subscription.start = {start[0]: start[1]}
        return self._ask(subscription)

    def read(self, channel: str, after: str | None = None) -> Message | None:
        """Subscribe where somebody takes every event that comes: then, of the own user channel, they are `confirmable`.

        From a position (everything before it was had), or without one from what came to the user while away, as
        far as it was not confirmed. None where a new connection is needed for that: it will ask by itself.
        """
        subscription = self._subscription(channel)
        subscription.is_read = True
        if after is not None:
            return self.subscribe(channel, ("after", after))
        subscription.wanted = True
        subscription.start = None
        if channel != self._inbox.channel:
            return self._ask(subscription)
        self._inbox.want(subscription)
        return None

    def leave(self, channel: str) -> None:
        """Nobody takes its events any more; the connection may keep it all the same."""
        subscription = self._subscription(channel)
        subscription.is_read = False
        subscription.start = None

    def unsubscribe(self, channel: str) -> Message:
        """Want it no more; the message that says so. The position is kept.

        What still comes of it is nobody's: whoever subscribes it again begins where that is answered.
        """
        subscription = self._subscription(channel)
        subscription.wanted = subscription.is_read = False
        subscription.start = None
        subscription.take(Input.ENDED)
        self._questions.give_up(channel)
        if channel == self._inbox.channel:
            self._inbox.awaited = False
        ref = self._questions.add(Asked(channel, "unsubscribe"))
        return {"type": "unsubscribe", "channel": channel, "ref": ref}

    def forget(self, channel: str) -> None:
        """Drop the channel's position, so that it may begin anywhere."""
        self._subscription(channel).forget()

    def position(self, channel: str) -> Position | None:
        """Up to where the channel was delivered; None before it began."""
        subscription = self._subscriptions.get(channel)
        return None if subscription is None else subscription.position(self.epoch)

    def state(self, channel: str) -> State:
        """The channel's state on the present connection."""
        subscription = self._subscriptions.get(channel)
        return State.IDLE if subscription is None else subscription.state

    @property
    def wanted(self) -> tuple[str, ...]:
        """The channels that the caller subscribed."""
        return tuple(s.channel for s in self._subscriptions.values() if s.wanted)

    @property
    def automatic(self) -> frozenset[str]:
        """The channels that the connection itself subscribes."""
        return frozenset(s.channel for s in self._subscriptions.values() if s.automatic)

    @property
    def user_channel(self) -> str | None:
        """The channel of the session's own user; None before the first greeting."""
        return self._inbox.channel or None

    @property
    def owes_offline(self) -> bool:
        """Whether some of what came to the user while away is still to come."""
        return self._inbox.owed

    @property
    def confirmable(self) -> Position | None:
        """Up to where the own user channel was handed out to somebody who takes all of it.

        None where nobody does, and where something that came while away would be passed over: then the durable
        cursor must not move.
        """
        subscription = self._subscriptions.get(self._inbox.channel)
        if subscription is None or not subscription.is_read or subscription.start is not None:
            return None
        if subscription.state is State.IDLE or not self._inbox.is_whole:
            return None
        return subscription.position(self.epoch)

    @property
    def live(self) -> tuple[str, ...]:
        """The channels that are live on the present connection."""
        return tuple(s.channel for s in self._subscriptions.values() if s.state is State.LIVE)

    def resume(self) -> Resume:
        """What to send on a new connection."""
        self.on_disconnected()
        after = None if self._inbox.owed else self._after()
        self._brought_back = after is not None
        self._inbox.awaited = self._inbox.owed
        messages = tuple(
            self._ask(subscription)
            for subscription in self._subscriptions.values()
            if (subscription.wanted or subscription.automatic)
            and (subscription.start is not None or not self._comes_by_itself(subscription))
        )
        return Resume(after, messages)

    def _comes_by_itself(self, subscription: Subscription) -> bool:
        """Whether the connect alone brings a subscription back to where it was."""
        if self._brought_back:
            return subscription.automatic and not self._lacks_partitions(subscription)
        return subscription.channel == self._inbox.channel and self._inbox.owed

    def _lacks_partitions(self, subscription: Subscription) -> bool:
        """Whether it wants all that is held of a partition in which another one has a place."""
        return subscription.offsets is not None and len(subscription.offsets) < self._partitions

    def on_disconnected(self) -> None:
        """The connection is gone: nothing is subscribed, every position stays."""
        self._questions.clear()
        self._inbox.disconnected()
        for subscription in self._subscriptions.values():
            subscription.take(Input.DISCONNECTED)
            if subscription.offsets:
                subscription.epoch = subscription.epoch or self.epoch

    def receive(self, message: Message) -> list[Delivery | Notice]:
        """Take the next message of the server; what follows from it, in order. Raises ProtocolError."""
        try:
            if self._inbox.began_live:
                self._inbox.explain(delayed=self._delays_offline(message))
            # An event first: a producer may have named its type like one of the protocol's messages.
            if "offset" in message and "partition" in message:
                return self._event(message)
            return list(self._control(message))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProtocolError(f"the message {str(message)[:200]} is not of protocol version 1: {error!r}") from error

    def _event(self, event: Message) -> list[Delivery | Notice]:
        partition, offset = event["partition"], event["offset"]
        replay = event.pop("replay", None)
        names, input_ = (event["channels"], Input.LIVE_EVENT) if replay is None else (replay, Input.REPLAYED_EVENT)
        subscriptions = self._subscriptions
        counted = tuple(
            name
            for name in names
            if (subscription := subscriptions.get(name)) is not None and subscription.count(input_, partition, offset)
        )
        if counted and self._inbox.owed and self._inbox.channel in counted:
            mine = self._inbox.channel
            epoch = subscriptions[mine].epoch or self.epoch
            if not self._inbox.is_new(epoch, partition, offset):
                counted = tuple(name for name in counted if name != mine)
        return [Delivery(event, counted, replayed=replay is not None)] if counted else []

    def _control(self, message: Message) -> Iterator[Notice]:
        match message["type"]:
            case "ping":
                yield from self._ping(message)
            case "caught_up":
                names = tuple(message["channels"])
                yield from self._apply(Input.CAUGHT_UP, names, Position.parse(message["position"]))
                if self._inbox.channel in names and self.state(self._inbox.channel) is State.LIVE:
                    self._inbox.caught_up()
                yield CaughtUp(names, bool(message.get("closed", False)))
            case "fell_behind":
                names = tuple(message["channels"])
                yield from self._apply(Input.FELL_BEHIND, names, Position.parse(message["position"]))
                yield FellBehind(names)
            case "gap":
                yield self._gap(message)
            case "connection_established":
                yield from self._established(message)
            case "subscription_result":
                yield from self._subscription_result(message)
            case "unsubscription_result":
                self._questions.take_answered(message.get("ref"), "unsubscribe", message["channel"])
                yield self._ended(message["channel"], None)
            case "unsubscribed":
                channel = message["channel"]
                # The server's own doing, so the next connection does not ask again.
                self._subscription(channel).wanted = False
                self._subscription(channel).start = None
                yield self._ended(channel, str(message.get("reason", "")))
            case "token_expiring":
                yield TokenExpiring(str(message["expires_at"]))
            case "error":
                yield from self._error(message)
            case _:
                yield Answer(message)

    def _ping(self, message: Message) -> Iterator[Notice]:
        token = message.get("position")
        if token is not None:
            yield from self._apply(Input.PING, tuple(self._subscriptions), Position.parse(token))
        yield Ping()

    def _gap(self, message: Message) -> Notice:
        names = tuple(message["channels"])
        earliest, requested = Position.parse(message["earliest"]), Position.parse(message["requested"])
        reason = str(message["reason"])
        self.epoch = earliest.epoch or self.epoch
        if reason == "epoch":
            for name in names:
                if (subscription := self._subscriptions.get(name)) is not None:
                    subscription.cross(requested, earliest)
        else:
            for name in names:
                if (subscription := self._subscriptions.get(name)) is not None:
                    subscription.apply(Input.GAP, earliest)
        return Gap(names, requested, earliest, reason)

    def _established(self, message: Message) -> Iterator[Notice]:
        begun: list[Notice] = []
        for subscription in self._subscriptions.values():
            subscription.automatic = False
            subscription.take(Input.DISCONNECTED)
        self._inbox.channel = f"user:{message['user_id']}"
        self._inbox.awaited = False
        for entry in message["subscriptions"]:
            position = Position.parse(entry["position"])
            subscription = self._subscription(entry["channel"])
            subscription.automatic = True
            self.epoch = self.epoch or position.epoch
            if not self._begins_here(subscription):
                continue
            is_owed = subscription.channel == self._inbox.channel and self._inbox.owed
            if is_owed and not self._inbox.greeted(subscription, position, live=entry["live"]):
                begun.append(Ask(self._ask(subscription)))
                continue
            input_ = Input.BEGUN_LIVE if entry["live"] else Input.BEGUN_BEHIND
            crossed = subscription.apply(input_, position)
            if crossed:
                begun.append(self._unannounced(entry["channel"], position))
            begun.append(Begun(entry["channel"], position, entry.get("recovered")))
        yield Established(
            str(message["connection_id"]),
            str(message["user_id"]),
            str(message.get("node", "")),
            float(message["heartbeat_seconds"]),
            tuple(entry["channel"] for entry in message["subscriptions"]),
        )
        yield from begun

    def _begins_here(self, subscription: Subscription) -> bool:
        """Whether the stream that the connection itself begins is the one that is wanted."""
        brought_back = self._brought_back and (self._inbox.owed or not self._lacks_partitions(subscription))
        if subscription.channel == self._inbox.channel and brought_back:
            return not self._inbox.owed
        # One that was asked for from its own position counts from the answer on: live, it would begin too late.
        return not self._questions.asks_for_start(subscription.channel)

    def _subscription_result(self, message: Message) -> Iterator[Notice]:
        channel = message["channel"]
        asked = self._questions.take_answered(message.get("ref"), "subscribe", channel)
        if asked is not None and asked.is_void:
            return
        if not message["subscribed"]:
            self._subscription(channel).wanted = False
            self._subscription(channel).start = None
            yield self._ended(channel, str(message.get("reason") or "refused"))
            return
        position = Position.parse(message["position"])
        subscription = self._subscription(channel)
        if asked is not None and asked.rewind is not None:
            is_wanted = subscription.start is asked.rewind
            if is_wanted:
                subscription.start = None
            if is_wanted or channel == self._inbox.channel or subscription.offsets is None:
                subscription.begin_again(position)
            else:
                # Whoever asked has left the channel to one who goes on from where it is.
                subscription.take(Input.RESULT_WITH_START)
            if channel == self._inbox.channel:
                self._inbox.settle()
        elif asked is not None and asked.with_start:
            yield from self._apply(Input.RESULT_WITH_START, (channel,), position)
        elif channel == self._inbox.channel and self._inbox.owed and self._questions.asks_for_start(channel):
            pass  # what lies before where it began was asked for, and that answer is still to come
        else:
            self.epoch = self.epoch or position.epoch
            yield from self._apply(Input.RESULT_WITHOUT_START, (channel,), position)
        # Where a start is still to be confirmed this was the answer to an earlier question.
        yield Begun(channel, position, message.get("recovered"), answers=subscription.start is None)

    def _error(self, message: Message) -> Iterator[Notice]:
        if self._delays_offline(message):
            seconds = float(message.get("retry_after") or 1.0)
            yield OfflineDelayed(str(message["channel"]), str(message.get("message", "")), seconds)
            return
        asked = self._questions.take(message.get("ref"))
        if asked is None:
            yield Answer(message)
            return
        if asked.is_void:
            return
        subscription = self._subscription(asked.channel)
        subscription.take(Input.REFUSED)
        code, retry_after = message.get("code"), message.get("retry_after")
        if code not in _WAITING and asked.verb == "subscribe":
            subscription.wanted = False
            subscription.start = None
        text = str(message.get("message", "the server gave no reason"))
        yield Refused(asked.channel, text, code, None if retry_after is None else float(retry_after))

    def _delays_offline(self, message: Message) -> bool:
        """Whether the server says that it can't deliver now what came while away."""
        if message.get("type") != "error" or message.get("ref") is not None or not self._inbox.owed:
            return False
        return message.get("channel") == self._inbox.channel and message.get("code") in _WAITING

    def _ended(self, channel: str, reason: str | None) -> Notice:
        self._subscription(channel).take(Input.ENDED)
        return Unsubscribed(channel, reason)

    def _apply(self, input_: Input, names: tuple[str, ...], position: Position) -> Iterator[Notice]:
        if input_ is not Input.RESULT_WITH_START and input_ is not Input.RESULT_WITHOUT_START:
            self.epoch = position.epoch or self.epoch
        for name in names:
            subscription = self._subscriptions.get(name)
            if subscription is not None and subscription.apply(input_, position):
                yield self._unannounced(name, position)

    def _unannounced(self, channel: str, position: Position) -> Gap:
        # Another epoch without the gap that announces it: say so rather than lose what offsets would hide.
        self.epoch = position.epoch
        return Gap((channel,), EARLIEST, position, "epoch")

    def _subscription(self, channel: str) -> Subscription:
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            subscription = self._subscriptions[channel] = Subscription(channel)
        return subscription

    def _ask(self, subscription: Subscription) -> Message:
        start: Mapping[str, object] = subscription.start or {}
        position = subscription.position(self.epoch)
        # Live, it may have come further than what came while away: from its position that would be passed over.
        comes = subscription.channel == self._inbox.channel and self._inbox.awaited
        if not start and position is not None and subscription.state is State.IDLE and not comes:
            start = {"after": position.token}
        ref = self._questions.add(Asked(subscription.channel, "subscribe", bool(start), subscription.start))
        return {"type": "subscribe", "channel": subscription.channel, "ref": ref, **start}

    def _after(self) -> str | None:
        automatic = [s for s in self._subscriptions.values() if s.automatic and s.offsets is not None]
        # One that lacks partitions wants all that is held of them: with it in the smallest, the others would not be
        # told what is gone. It is asked for by itself.
        self._partitions = len({partition for s in automatic for partition in s.offsets or ()})
        complete = [s.position(self.epoch) for s in automatic if not self._lacks_partitions(s)]
        smallest = smallest_of([position for position in complete if position is not None], self.epoch)
        return None if smallest is None else smallest.token
