"""What a client must do, by the four rules of the protocol, written out anew: nothing of it is the package's."""

from dataclasses import dataclass, field
from random import Random
from typing import Literal

from lastseen.notices import Message
from lastseen.positions import Position

from service.domain.identity import Identity
from tests.checker import Followed
from tests.wire_watch import WAITING

Offsets = dict[int, int]
Return = Literal["each its own", "one lowest", "the connect's"]


@dataclass
class Had:
    """A channel: what it is on the present connection, and up to where it has been had, over all of them."""

    state: Literal["not subscribed", "live", "behind"] = "not subscribed"
    seen: Offsets | None = None


@dataclass
class Question:
    """A `subscribe` that has not been answered for all of its channels."""

    channels: set[str]
    has_start: bool
    forgets: bool
    """Whether the position is forgotten, to see something again."""


@dataclass
class RuleFollower:
    """One client. `followed` is what it has had."""

    user: str
    random: Random
    followed: Followed = field(init=False)
    ended: list[Followed] = field(default_factory=list)
    """What it had before it forgot a position."""
    channels: dict[str, Had] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    """Channels that were refused for the time being."""
    _epoch: str = ""
    _automatic: tuple[str, ...] = ()
    _wanted: set[str] = field(default_factory=set)
    _questions: dict[int, Question] = field(default_factory=dict)
    _refs: int = 0

    def __post_init__(self) -> None:
        self.followed = Followed(Identity(self.user, "admin", frozenset(), frozenset(), 2**40))

    def connect(self, how: Return) -> tuple[str | None, list[Message]]:
        """The `after` of the connect, and what to say behind it (rule 4)."""
        # Perhaps nobody was there the last time.
        self.disconnected()
        mine = [name for name in self._automatic if self.channels[name].seen is not None]
        wanted = sorted(name for name in self._wanted if name not in mine)
        had = [name for name in wanted if self.channels[name].seen is not None]
        new = [name for name in wanted if self.channels[name].seen is None]
        after = self._lowest(mine + (had if how == "the connect's" else [])) if mine else None
        messages: list[Message] = []
        if how == "each its own":
            messages += [self._ask([name], {"after": self._token(self.channels[name].seen)}) for name in had]
        elif had:
            lowest = after if how == "the connect's" and after is not None else self._lowest(had)
            messages.append(self._ask(had, {"after": lowest}))
        if new:
            messages.append(self._ask(new, {}))
        return after, messages

    def disconnected(self) -> None:
        """Nothing is subscribed any more, every position stays."""
        self._questions.clear()
        self.again.clear()
        for had in self.channels.values():
            had.state = "not subscribed"

    def subscribe(self, names: list[str], start: Message | None = None) -> list[Message]:
        """Ask for channels with a start (what was had before is forgotten), or to go on with them."""
        free = [name for name in names if not self.is_asked(name)]
        for name in free:
            self.channels.setdefault(name, Had())
        self._wanted |= set(free)
        if start is not None:
            return [self._ask(free, start, forgets=True)] if free else []
        new = [name for name in free if self.channels[name].seen is None]
        had = [name for name in free if name not in new and self.channels[name].state == "not subscribed"]
        messages = [self._ask([name], {"after": self._token(self.channels[name].seen)}) for name in had]
        return [*messages, self._ask(new, {})] if new else messages

    def unsubscribe(self, name: str) -> list[Message]:
        """Want a channel no more."""
        if self.is_asked(name):
            return []
        self._wanted.discard(name)
        self._refs += 1
        return [{"type": "unsubscribe", "channel": name, "ref": self._refs}]

    def is_asked(self, name: str) -> bool:
        """Whether an answer for the channel is still to come (rule 3)."""
        return any(name in question.channels for question in self._questions.values())

    @property
    def subscribed(self) -> list[str]:
        """The channels that are subscribed now."""
        return [name for name, had in self.channels.items() if had.state != "not subscribed"]

    def lacks(self, head: Offsets) -> list[str]:
        """What is not live, or has not been had up to `head` (exclusive), of all that was ever had."""
        asked = [f"no answer for {sorted(question.channels)}" for question in self._questions.values()]
        return asked + [
            f"{name} is {had.state} at {had.seen}"
            for name, had in self.channels.items()
            if had.state != "live" or any((had.seen or {}).get(p, -1) < next_ - 1 for p, next_ in head.items())
        ]

    def give_up(self) -> None:
        """Expect nothing more: what was had counts up to where it has come."""
        for name in list(self.followed.begun):
            self._end(name, self.channels[name].seen or {})

    def receive(self, message: Message) -> list[Message]:
        """Take what the server says; what to say to that."""
        if "offset" in message:
            self._event(message)
            return []
        match message["type"]:
            case "connection_established":
                self._automatic = tuple(entry["channel"] for entry in message["subscriptions"])
                for entry in message["subscriptions"]:
                    had = self.channels.setdefault(entry["channel"], Had())
                    had.state = "live" if entry["live"] else "behind"
                    self._raise(entry["channel"], entry["position"])
            case "subscription_result":
                self._answered(message)
            case "unsubscription_result" | "unsubscribed":
                self.channels[message["channel"]].state = "not subscribed"
            case "caught_up" | "fell_behind" as type_:
                for name in message["channels"]:
                    self._raise(name, message["position"])
                    self.channels[name].state = "live" if type_ == "caught_up" else "behind"
            case "gap":
                for name in message["channels"]:
                    self._raise(name, message["earliest"])
            case "ping":
                for name, had in self.channels.items():
                    if had.state == "live":
                        self._raise(name, message["position"])
                # A pong would confirm offline messages, which are to come again.
                return [{"type": "ping"}]
            case "error" if "ref" in message and message["ref"] in self._questions:
                self._take(message["ref"], message["channel"])
                if message["code"] in WAITING:
                    self.again.append(message["channel"])
        return []

    def _event(self, event: Message) -> None:
        """Rule 1: it counts where it lies above the position, which it raises."""
        partition, offset = event["partition"], event["offset"]
        for name in event["replay"] if "replay" in event else event["channels"]:
            had = self.channels.get(name)
            if had is None or had.state == "not subscribed" or ("replay" not in event and had.state != "live"):
                continue
            assert had.seen is not None, f"an event of {name}, which has not begun"
            if offset > had.seen.get(partition, -1):
                had.seen[partition] = offset
                self.followed.got.setdefault(name, []).append((partition, offset))

    def _answered(self, message: Message) -> None:
        name = message["channel"]
        question = self._take(message["ref"], name)
        had = self.channels[name]
        if question.forgets and had.seen is not None:
            self._end(name, had.seen)
            had.seen = None
        self._raise(name, message["position"])
        if question.has_start:
            had.state = "behind"
        elif had.state == "not subscribed":
            had.state = "live"

    def _end(self, name: str, seen: Offsets) -> None:
        mine = self.followed
        left = {name: Position(self._epoch, dict(seen))}
        self.ended.append(Followed(mine.identity, {name: mine.begun.pop(name)}, {name: mine.got.pop(name, [])}, left))

    def _take(self, ref: int, name: str) -> Question:
        question = self._questions[ref]
        question.channels.remove(name)
        if not question.channels:
            del self._questions[ref]
        return question

    def _raise(self, name: str, token: str) -> None:
        position = Position.parse(token)
        assert self._epoch in ("", position.epoch), "another epoch, and no gap that says so"
        self._epoch = position.epoch
        had = self.channels.setdefault(name, Had())
        if had.seen is None:
            had.seen = dict(position.offsets)
            self.followed.begun[name] = position
        for partition, offset in position.offsets.items():
            had.seen[partition] = max(had.seen.get(partition, -1), offset)

    def _ask(self, names: list[str], start: Message, *, forgets: bool = False) -> Message:
        self._refs += 1
        self._questions[self._refs] = Question(set(names), bool(start), forgets)
        which = {"channel": names[0]} if len(names) == 1 else {"channels": names}
        return {"type": "subscribe", **which, **start, "ref": self._refs}

    def _lowest(self, names: list[str]) -> str:
        offsets: Offsets = {}
        for name in names:
            for partition, offset in (self.channels[name].seen or {}).items():
                offsets[partition] = min(offset, offsets.get(partition, offset))
        if self.random.random() < 0.1:
            # One that its own token leaves out means everything: it gets too much, and drops it.
            del offsets[self.random.choice(sorted(offsets))]
        return self._token(offsets)

    def _token(self, offsets: Offsets | None) -> str:
        return Position(self._epoch, offsets or {}).token
