"""What nodes write into the presence topic: one key a word, so that the newest is all that has to be kept.

    lease/INCARNATION            the node lives; renewed
    user/INCARNATION/USER        that node holds connections of that user
    session/ID/USER              a session of that user, and which of its ends has been told
    question/INCARNATION         a node asks all others
    answer/INCARNATION           a node's answer to one of them

An incarnation is one life of a node: it names the process where INSTANCE_ID names the place. Incarnations sort by
the time of their beginning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

MAX_LISTED: Final = 1000
"""Users that one answer lists; of more it tells the number."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A node lives, and will have renewed this within `milliseconds`."""

    incarnation: str
    node: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Holding:
    """A node has connections of a user. `number` is one more for each time that a user came to it."""

    incarnation: str
    user: str
    connections: int
    number: int
    project: str | None
    """The project that the first of them was opened with."""


class Stage(StrEnum):
    """How far a session has come."""

    OPENING = "opening"
    """It has begun, and `user_online` may be in the log."""
    OPEN = "open"
    """`user_online` is in the log."""
    CLOSING = "closing"
    """It has ended, and `user_offline` may be in the log; whoever comes now begins another."""
    CLOSED = "closed"
    """`user_offline` is in the log. A tombstone follows."""


@dataclass(frozen=True, slots=True)
class Session:
    """The time from `user_online` to `user_offline`, named after the holding that it began with."""

    user: str
    id: str
    incarnation: str
    """The one that took it upon itself to tell of the present stage."""
    node: str
    """The name of the node that it began on."""
    project: str | None
    stage: Stage


@dataclass(frozen=True, slots=True)
class About:
    """The connections that a question is about: of that user, subscribed to that channel; without either, all."""

    user: str | None = None
    channel: str | None = None
    without: str | None = None
    """A connection that doesn't count."""


@dataclass(frozen=True, slots=True)
class Question:
    """A node asks all nodes, itself included."""

    asker: str
    number: int
    about: About


@dataclass(frozen=True, slots=True)
class Counts:
    """What one node has of the connections asked about."""

    connections: int = 0
    users: int = 0
    channels: int = 0
    listed_users: Sequence[str] | None = None
    """The users, unless they are more than MAX_LISTED or all of the node's."""
    channel_digests: str | None = None
    """8 bytes of each channel's digest, as base64; None where there are too many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A node's answer to a question of `asker`."""

    incarnation: str
    asker: str
    number: int
    counts: Counts = field(default_factory=Counts)


Word = Lease | Holding | Session | Question | Answer


class Gone(NamedTuple):
    """A key is no more. `name` is the incarnation, or the session; `user` is empty where the kind has none."""

    kind: str
    name: str
    user: str


_KINDS: Final[Mapping[str, TypeAdapter[Any]]] = {
    "lease": TypeAdapter(Lease),
    "user": TypeAdapter(Holding),
    "session": TypeAdapter(Session),
    "question": TypeAdapter(Question),
    "answer": TypeAdapter(Answer),
}


def lease_key(incarnation: str) -> str:
    """The key of a node's lease."""
    return f"lease/{incarnation}"


def holding_key(incarnation: str, user: str) -> str:
    """The key of what a node holds of a user."""
    return f"user/{incarnation}/{user}"


def session_key(session: str, user: str) -> str:
    """The key of a session: one of its own, so that a late word of it hides none of the next."""
    return f"session/{session}/{user}"


def asking_keys(incarnation: str) -> tuple[str, str]:
    """The keys of a node's questions and answers."""
    return f"question/{incarnation}", f"answer/{incarnation}"


def key_of(word: Word) -> str:
    """The key that a word stands under."""
    match word:
        case Lease():
            return lease_key(word.incarnation)
        case Holding():
            return holding_key(word.incarnation, word.user)
        case Session():
            return session_key(word.id, word.user)
        case Question():
            return asking_keys(word.asker)[0]
        case Answer():
            return asking_keys(word.incarnation)[1]


def entry_of(word: Word) -> tuple[str, bytes]:
    """Key and value that say it."""
    return key_of(word), to_json(word)


def read_entry(key: str, value: bytes | None) -> Word | Gone | None:
    """What a record says; None for one that says nothing known here, such as a later version's."""
    kind, _, name = key.partition("/")
    adapter = _KINDS.get(kind)
    if adapter is None:
        return None
    if value is None:
        name, _, user = name.partition("/")
        return Gone(kind, name, user)
    try:
        word: Word = adapter.validate_json(value)
    except ValidationError:
        return None
    return word if key_of(word) == key else None
