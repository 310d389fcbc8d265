"""The package's own session in the place of `RuleFollower`: what it hands out is held against the log likewise."""

from dataclasses import dataclass, field
from random import Random
from typing import cast

from lastseen.notices import Ask, Begun, Delivery, Message, Ping, Refused, Unsubscribed
from lastseen.positions import Position
from lastseen.session import Session, StartKind
from lastseen.transitions import State

from service.domain.identity import Identity
from tests.checker import Followed
from tests.faults.rules import Offsets, Return
from tests.wire_watch import WAITING


@dataclass
class PackagedFollower:
    """One client. `followed` is what it has had."""

    user: str
    random: Random
    followed: Followed = field(init=False)
    ended: list[Followed] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    _session: Session = field(default_factory=Session)
    _asked: set[str] = field(default_factory=set)
    _anew: dict[str, tuple[StartKind, object] | None] = field(default_factory=dict)
    """Channels of which everything before is to be forgotten, and where they begin."""

    def __post_init__(self) -> None:
        self.followed = Followed(Identity(self.user, "admin", frozenset(), frozenset(), 2**40))

    def connect(self, how: Return) -> tuple[str | None, list[Message]]:
        """As the session says, whatever is asked."""
        resume = self._session.resume()
        self._asked = {message["channel"] for message in resume.messages}
        return resume.after, list(resume.messages)

    def disconnected(self) -> None:
        """Nothing is subscribed any more, every position stays."""
        self._session.on_disconnected()
        self._asked.clear()
        self.again.clear()

    def subscribe(self, names: list[str], start: Message | None = None) -> list[Message]:
        """Ask for channels with a start, or to go on with them."""
        messages = []
        for name in names:
            if name in self._asked or (start is None and self._session.state(name) is not State.IDLE):
                continue
            if start is not None:
                ((kind, value),) = start.items()
                self._anew[name] = (cast(StartKind, kind), value)
            messages.append(self._session.subscribe(name, self._anew.get(name)))
            self._asked.add(name)
        return messages

    def unsubscribe(self, name: str) -> list[Message]:
        """Want a channel no more."""
        if name in self._asked:
            return []
        self._anew.pop(name, None)
        return [self._session.unsubscribe(name)]

    @property
    def subscribed(self) -> list[str]:
        """The channels that are subscribed now."""
        return [name for name in self.followed.begun if self._session.state(name) is not State.IDLE]

    def lacks(self, head: Offsets) -> list[str]:
        """What is not live, or has not been had up to `head` (exclusive), of all that was ever had."""
        asked = [f"no answer for {name}" for name in self._asked]
        return asked + [
            f"{name} is {self._session.state(name).name} at {self._session.position(name)}"
            for name in self.followed.begun
            if self._session.state(name) is not State.LIVE
            or any(_at(self._session, name, p) < next_ - 1 for p, next_ in head.items())
        ]

    def give_up(self) -> None:
        """Expect nothing more: what was had counts up to where it has come."""
        for name in list(self.followed.begun):
            self._end(name, self._session.position(name))

    def receive(self, message: Message) -> list[Message]:
        """Take what the server says; what to say to that."""
        anew = message.get("channel", "") if message["type"] == "subscription_result" else ""
        before = self._session.position(anew) if anew in self._anew else None
        answers: list[Message] = []
        for item in self._session.receive(message):
            match item:
                case Delivery(event, channels):
                    for channel in channels:
                        self.followed.got.setdefault(channel, []).append((event["partition"], event["offset"]))
                case Begun(channel, position, answers=is_answer):
                    if is_answer:
                        self._asked.discard(channel)
                        if channel in self._anew:
                            del self._anew[channel]
                            self._end(channel, before)
                    self.followed.begun.setdefault(channel, position)
                case Ask(asked):
                    self._asked.add(asked["channel"])
                    answers.append(asked)
                case Ping():
                    answers.append({"type": "ping"})
                case Unsubscribed(channel):
                    # Else it answers an `unsubscribe`, behind which the channel may have been asked for again.
                    if message["type"] == "subscription_result":
                        self._asked.discard(channel)
                case Refused(channel, _, code):
                    self._asked.discard(channel)
                    if code in WAITING:
                        self.again.append(channel)
        return answers

    def _end(self, name: str, before: Position | None) -> None:
        mine = self.followed
        if before is not None and name in mine.begun:
            begun, got = mine.begun.pop(name), mine.got.pop(name, [])
            self.ended.append(Followed(mine.identity, {name: begun}, {name: got}, {name: before}))


def _at(session: Session, name: str, partition: int) -> int:
    position = session.position(name)
    return -1 if position is None else position.offsets.get(partition, -1)
