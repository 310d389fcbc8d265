"""The states of one subscription on the server's side, and what all that can happen does to it, every cell written.

What the client makes of it is `lastseen.transitions`. Where a catch-up reads from is `domain.catchup`.
"""

from enum import Enum, auto
from typing import Final, NamedTuple


class _Word(Enum):
    """A word of the table: hashed by what it is, which a table that is asked for each thing asks for often."""

    __hash__ = object.__hash__


class State(_Word):
    """What a channel is to a connection."""

    ABSENT = auto()
    """Not subscribed."""
    LIVE = auto()
    """The node pushes what its tail reads: the subscription stands at the node's head."""
    CATCHING_UP = auto()
    """It pulls, from the cursor of its catch-up."""


class Input(_Word):
    """What can happen to a subscription."""

    BEGUN = auto()
    """Wanted from now on."""
    BEGUN_BESIDE = auto()
    """The same while the connection has a catch-up that nobody asked for."""
    STARTED = auto()
    """Wanted from a start."""
    OVERFLOW = auto()
    """More waits for the client than may."""
    AT_HEAD = auto()
    """Its catch-up has served all that the node has read."""
    ENDED = auto()
    """The client, a right or the connection's end ended it."""


class Action(Enum):
    """What is done about it."""

    KEEP = auto()
    """The stream goes on as it is."""
    GO_LIVE = auto()
    """Push to it from the head on."""
    JOIN = auto()
    """Let it catch up with the others, from the head on: what comes to both comes once."""
    BEGIN_AGAIN = auto()
    """Whatever it was, nothing of that follows; it catches up from the start that was asked for."""
    FALL_BEHIND = auto()
    """Push no more; it catches up from the head on."""
    DROP = auto()


class Step(NamedTuple):
    """The state that follows, and what is done."""

    state: State
    action: Action


_BEGIN_AGAIN: Final = Step(State.CATCHING_UP, Action.BEGIN_AGAIN)

TABLE: Final[dict[State, dict[Input, Step]]] = {
    State.ABSENT: {
        Input.BEGUN: Step(State.LIVE, Action.GO_LIVE),
        Input.BEGUN_BESIDE: Step(State.CATCHING_UP, Action.JOIN),
        Input.STARTED: _BEGIN_AGAIN,
        Input.OVERFLOW: Step(State.ABSENT, Action.KEEP),
        Input.AT_HEAD: Step(State.ABSENT, Action.KEEP),
        Input.ENDED: Step(State.ABSENT, Action.KEEP),
    },
    State.LIVE: {
        Input.BEGUN: Step(State.LIVE, Action.KEEP),
        Input.BEGUN_BESIDE: Step(State.LIVE, Action.KEEP),
        Input.STARTED: _BEGIN_AGAIN,
        Input.OVERFLOW: Step(State.CATCHING_UP, Action.FALL_BEHIND),
        Input.AT_HEAD: Step(State.LIVE, Action.KEEP),
        Input.ENDED: Step(State.ABSENT, Action.DROP),
    },
    State.CATCHING_UP: {
        Input.BEGUN: Step(State.CATCHING_UP, Action.KEEP),
        Input.BEGUN_BESIDE: Step(State.CATCHING_UP, Action.KEEP),
        Input.STARTED: _BEGIN_AGAIN,
        Input.OVERFLOW: Step(State.CATCHING_UP, Action.KEEP),
        Input.AT_HEAD: Step(State.LIVE, Action.GO_LIVE),
        Input.ENDED: Step(State.ABSENT, Action.DROP),
    },
}
