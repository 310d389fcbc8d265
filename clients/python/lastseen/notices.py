"""What a session makes of the server's messages."""

from dataclasses import dataclass
from typing import Any

from lastseen.positions import Position

Message = dict[str, Any]
"""A JSON object of the wire, either way."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event, once for all the subscribed channels for which it counts now."""

    event: Message
    channels: tuple[str, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """A subscription began or was confirmed; it delivers from `position` on."""

    channel: str
    position: Position
    recovered: bool | None
    answers: bool = False
    """Whether this answers the latest subscribe; else it answers an earlier one, or the connection itself began it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a subscribe was an error. With `retry_after` (seconds) it may be asked again."""

    channel: str
    message: str
    code: str | int | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """These channels are live now; `closed`: their task has ended and nothing more will come."""

    channels: tuple[str, ...]
    closed: bool


@dataclass(frozen=True, slots=True)
class FellBehind:
    """These channels catch up from here on."""

    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Events between `requested` and `earliest` will not come."""

    channels: tuple[str, ...]
    requested: Position
    earliest: Position
    reason: str


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The subscription is over. `reason` is the server's, or None where the caller asked for it."""

    channel: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class OfflineDelayed:
    """What came to the user while away can't be had now; `channel`, the user's, is live all the same.

    A later connection brings it, at the earliest `retry_after` seconds from now.
    """

    channel: str
    message: str
    retry_after: float


@dataclass(frozen=True, slots=True)
class Ask:
    """To be sent on this connection: what the session needs now beyond what it was told to want."""

    message: Message


@dataclass(frozen=True, slots=True)
class TokenExpiring:
    """The connection ends with its token at `expires_at` (RFC 3339), unless another is given."""

    expires_at: str


@dataclass(frozen=True, slots=True)
class Established:
    """The connection is accepted. `heartbeat` is in seconds."""

    connection_id: str
    user_id: str
    node: str
    heartbeat: float
    automatic: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """The server's heartbeat.

    Any message answers it. A `pong` would move the durable cursor to this point, read or not.
    """


@dataclass(frozen=True, slots=True)
class Answer:
    """Any other message: the answer to something that the session did not ask, or a name it does not know."""

    message: Message


Notice = (
    Begun
    | Refused
    | CaughtUp
    | FellBehind
    | Gap
    | Unsubscribed
    | OfflineDelayed
    | Ask
    | TokenExpiring
    | Established
    | Ping
    | Answer
)
