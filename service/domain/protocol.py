"""The state machine of a connection: what each thing that can happen does to it, every cell written.

The table begins where the caller is known. What comes before (the hand-shake, the token) is one question with
one answer and needs no states.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from lastseen import close_codes

SUBPROTOCOL: Final = "lastseen.v1"


class _Word(Enum):
    """A word of the table: hashed by what it is, which a table that is asked for each thing asks for often."""

    __hash__ = object.__hash__


class State(_Word):
    """What a connection is."""

    OPENING = auto()
    """Rights and start are being judged; nothing has been said yet."""
    OPEN = auto()
    EXPIRING = auto()
    """As open; the client has been told that its token ends soon."""
    CLOSED = auto()
    """The last word has been said, or the client is gone."""


class Input(_Word):
    """What can happen to a connection."""

    ADMITTED = auto()
    """Its start is known and it may have what it asked for."""
    REFUSED = auto()
    """It may not, or not now."""
    MESSAGE = auto()
    """The client said something."""
    EVENTS = auto()
    """Live events are due."""
    PAGE = auto()
    """A replay has something for it."""
    OVERFLOW = auto()
    """More waits in its buffer than may."""
    RIGHT_ENDED = auto()
    """It may no longer read something that it has subscribed to."""
    HEARTBEAT = auto()
    """A ping is due."""
    SILENCE = auto()
    """Nothing came from the client for longer than may be."""
    EXPIRY_NEAR = auto()
    """The token ends within a minute."""
    RENEWED = auto()
    """The client gave another token."""
    EXPIRED = auto()
    """The token has ended."""
    LIMIT_PASSED = auto()
    """The client sends more than it may."""
    GOING_AWAY = auto()
    """The node is about to end."""
    FAULT = auto()
    """Something failed that must not."""
    LOST = auto()
    """The network has lost the client, or it left."""


class Action(Enum):
    """What the connection does about it."""

    NOTHING = auto()
    GREET = auto()
    """Say `connection_established` and begin the automatic subscriptions."""
    ACT = auto()
    """Do what the message asks for, or answer with an error."""
    WRITE = auto()
    FALL_BEHIND = auto()
    """Let the live subscriptions catch up at the client's own pace."""
    UNSUBSCRIBE = auto()
    """End the subscription, with a notice."""
    PING = auto()
    WARN = auto()
    """Say `token_expiring`."""
    CLOSE = auto()
    """Say goodbye with the code of `GOODBYES`, or of the refusal, and give everything back."""
    RELEASE = auto()
    """Give everything back; there is nobody to say anything to."""


class Step(NamedTuple):
    """The state that follows, and what is done."""

    state: State
    action: Action


GOODBYES: Final[dict[Input, tuple[int, str]]] = {
    Input.SILENCE: (close_codes.HEARTBEAT_TIMEOUT, "Heartbeat timeout"),
    Input.EXPIRED: (close_codes.TOKEN_EXPIRED, "Token expired"),
    Input.LIMIT_PASSED: (close_codes.TOO_MANY, "Too many messages"),
    Input.GOING_AWAY: (close_codes.GOING_AWAY, "Server is going away"),
    Input.FAULT: (close_codes.INTERNAL_ERROR, "Internal server error"),
}
"""Code and reason of the closes that don't depend on what was asked."""

_CLOSE: Final = Step(State.CLOSED, Action.CLOSE)
_RELEASE: Final = Step(State.CLOSED, Action.RELEASE)
_OVER: Final = Step(State.CLOSED, Action.NOTHING)

TABLE: Final[dict[State, dict[Input, Step]]] = {
    State.OPENING: {
        Input.ADMITTED: Step(State.OPEN, Action.GREET),
        Input.REFUSED: _CLOSE,
        # Nothing may come before the greeting, and nothing is subscribed yet.
        Input.MESSAGE: Step(State.OPENING, Action.NOTHING),
        Input.EVENTS: Step(State.OPENING, Action.NOTHING),
        Input.PAGE: Step(State.OPENING, Action.NOTHING),
        Input.OVERFLOW: Step(State.OPENING, Action.NOTHING),
        Input.RIGHT_ENDED: Step(State.OPENING, Action.NOTHING),
        Input.HEARTBEAT: Step(State.OPENING, Action.NOTHING),
        Input.SILENCE: _CLOSE,
        Input.EXPIRY_NEAR: Step(State.OPENING, Action.NOTHING),
        Input.RENEWED: Step(State.OPENING, Action.NOTHING),
        Input.EXPIRED: _CLOSE,
        Input.LIMIT_PASSED: _CLOSE,
        Input.GOING_AWAY: _CLOSE,
        Input.FAULT: _CLOSE,
        Input.LOST: _RELEASE,
    },
    State.OPEN: {
        Input.ADMITTED: Step(State.OPEN, Action.NOTHING),
        Input.REFUSED: _CLOSE,
        Input.MESSAGE: Step(State.OPEN, Action.ACT),
        Input.EVENTS: Step(State.OPEN, Action.WRITE),
        Input.PAGE: Step(State.OPEN, Action.WRITE),
        Input.OVERFLOW: Step(State.OPEN, Action.FALL_BEHIND),
        Input.RIGHT_ENDED: Step(State.OPEN, Action.UNSUBSCRIBE),
        Input.HEARTBEAT: Step(State.OPEN, Action.PING),
        Input.SILENCE: _CLOSE,
        Input.EXPIRY_NEAR: Step(State.EXPIRING, Action.WARN),
        Input.RENEWED: Step(State.OPEN, Action.NOTHING),
        Input.EXPIRED: _CLOSE,
        Input.LIMIT_PASSED: _CLOSE,
        Input.GOING_AWAY: _CLOSE,
        Input.FAULT: _CLOSE,
        Input.LOST: _RELEASE,
    },
    State.EXPIRING: {
        Input.ADMITTED: Step(State.EXPIRING, Action.NOTHING),
        Input.REFUSED: _CLOSE,
        Input.MESSAGE: Step(State.EXPIRING, Action.ACT),
        Input.EVENTS: Step(State.EXPIRING, Action.WRITE),
        Input.PAGE: Step(State.EXPIRING, Action.WRITE),
        Input.OVERFLOW: Step(State.EXPIRING, Action.FALL_BEHIND),
        Input.RIGHT_ENDED: Step(State.EXPIRING, Action.UNSUBSCRIBE),
        Input.HEARTBEAT: Step(State.EXPIRING, Action.PING),
        Input.SILENCE: _CLOSE,
        Input.EXPIRY_NEAR: Step(State.EXPIRING, Action.NOTHING),
        Input.RENEWED: Step(State.OPEN, Action.NOTHING),
        Input.EXPIRED: _CLOSE,
        Input.LIMIT_PASSED: _CLOSE,
        Input.GOING_AWAY: _CLOSE,
        Input.FAULT: _CLOSE,
        Input.LOST: _RELEASE,
    },
    State.CLOSED: {
        Input.ADMITTED: _OVER,
        Input.REFUSED: _OVER,
        Input.MESSAGE: _OVER,
        Input.EVENTS: _OVER,
        Input.PAGE: _OVER,
        Input.OVERFLOW: _OVER,
        Input.RIGHT_ENDED: _OVER,
        Input.HEARTBEAT: _OVER,
        Input.SILENCE: _OVER,
        Input.EXPIRY_NEAR: _OVER,
        Input.RENEWED: _OVER,
        Input.EXPIRED: _OVER,
        Input.LIMIT_PASSED: _OVER,
        Input.GOING_AWAY: _OVER,
        Input.FAULT: _OVER,
        Input.LOST: _OVER,
    },
}
