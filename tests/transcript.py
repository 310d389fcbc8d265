"""What one client said and heard on one connection, and when: to be judged once the whole log is known."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lastseen.notices import Message

from service.domain.identity import Identity

_KEPT = ("type", "channels", "replay", "partition", "offset")


def now_ms() -> float:
    """The time by the clock that Kafka on this machine goes by, too."""
    return time.time() * 1000


class Said(NamedTuple):
    """The client's message, and what it knew the log to hold when it sent it."""

    message: Message
    held: Mapping[int, int]


class Heard(NamedTuple):
    """The node's message; of an event what routes it and where it lies."""

    message: Message
    at_ms: float


@dataclass
class Transcript:
    """One connection. `held`: what the client knew the log to hold when it asked to be let in."""

    identity: Identity
    node: str
    project: str | None
    after: str | None
    held: Mapping[int, int]
    lines: list[Said | Heard] = field(default_factory=list)
    close: tuple[int | None, str] | None = None
    """Code and reason, where the node closed it; a code of None: it broke."""
    closed_ms: float = 0.0

    def say(self, message: Message, held: Mapping[int, int]) -> None:
        """The client sends a message."""
        self.lines.append(Said(message, held))

    def hear(self, message: Message) -> None:
        """The client has got a message."""
        if "offset" in message:
            message = {name: message[name] for name in _KEPT if name in message}
        self.lines.append(Heard(message, now_ms()))

    def end(self, code: int | None, reason: str) -> None:
        """It is over."""
        self.close = (code, reason)
        self.closed_ms = now_ms()
