"""The states of one subscription, seen from the client, and what each message does to it.

`TABLE[state][input]` is written out in full: what a message does to a channel depends on nothing else.
"""

from enum import Enum, auto
from typing import Final, NamedTuple


class State(Enum):
    """What a subscription is on the present connection."""

    IDLE = auto()
    """Not subscribed; its position is kept all the same."""
    CATCHING_UP = auto()
    """Replayed events come, and count for it where they name it."""
    LIVE = auto()
    """Live events of its channel count for it."""


class Input(Enum):
    """What can happen to a subscription."""

    BEGUN_LIVE = auto()
    """`connection_established` names it with `live` true."""
    BEGUN_BEHIND = auto()
    """`connection_established` names it with `live` false."""
    RESULT_WITH_START = auto()
    """`subscription_result` to a `subscribe` with `after`, `since` or `last`."""
    RESULT_WITHOUT_START = auto()
    REFUSED = auto()
    """An `error` in answer to its `subscribe` or `unsubscribe`."""
    LIVE_EVENT = auto()
    """An event without `replay` that has the channel among its `channels`."""
    REPLAYED_EVENT = auto()
    """An event whose `replay` names the channel."""
    PING = auto()
    CAUGHT_UP = auto()
    FELL_BEHIND = auto()
    GAP = auto()
    ENDED = auto()
    """`unsubscribed`, `unsubscription_result`, or a `subscription_result` that says not subscribed."""
    DISCONNECTED = auto()


class Effect(Enum):
    """What happens to the position."""

    KEEP = auto()
    RAISE = auto()
    """To the component-wise maximum of it and the message's."""
    BEGIN = auto()
    """As RAISE; where the caller named the start, it is set to the message's."""
    COUNT = auto()
    """The event is delivered if it lies above the position, which advances to it; else it is ignored."""
    GAP = auto()
    """As RAISE; with reason `epoch` it is set to the message's `earliest`."""


class Step(NamedTuple):
    """The state that follows, and what happens to the position."""

    state: State
    effect: Effect


_KEEP_IDLE: Final = Step(State.IDLE, Effect.KEEP)

TABLE: Final[dict[State, dict[Input, Step]]] = {
    State.IDLE: {
        Input.BEGUN_LIVE: Step(State.LIVE, Effect.RAISE),
        Input.BEGUN_BEHIND: Step(State.CATCHING_UP, Effect.RAISE),
        Input.RESULT_WITH_START: Step(State.CATCHING_UP, Effect.BEGIN),
        Input.RESULT_WITHOUT_START: Step(State.LIVE, Effect.RAISE),
        Input.REFUSED: _KEEP_IDLE,
        Input.LIVE_EVENT: _KEEP_IDLE,
        Input.REPLAYED_EVENT: _KEEP_IDLE,
        Input.PING: _KEEP_IDLE,
        Input.CAUGHT_UP: _KEEP_IDLE,
        Input.FELL_BEHIND: _KEEP_IDLE,
        Input.GAP: _KEEP_IDLE,
        Input.ENDED: _KEEP_IDLE,
        Input.DISCONNECTED: _KEEP_IDLE,
    },
    State.CATCHING_UP: {
        Input.BEGUN_LIVE: Step(State.LIVE, Effect.RAISE),
        Input.BEGUN_BEHIND: Step(State.CATCHING_UP, Effect.RAISE),
        Input.RESULT_WITH_START: Step(State.CATCHING_UP, Effect.BEGIN),
        Input.RESULT_WITHOUT_START: Step(State.CATCHING_UP, Effect.RAISE),
        Input.REFUSED: Step(State.CATCHING_UP, Effect.KEEP),
        Input.LIVE_EVENT: Step(State.CATCHING_UP, Effect.KEEP),
        Input.REPLAYED_EVENT: Step(State.CATCHING_UP, Effect.COUNT),
        Input.PING: Step(State.CATCHING_UP, Effect.KEEP),
        Input.CAUGHT_UP: Step(State.LIVE, Effect.RAISE),
        Input.FELL_BEHIND: Step(State.CATCHING_UP, Effect.RAISE),
        Input.GAP: Step(State.CATCHING_UP, Effect.GAP),
        Input.ENDED: _KEEP_IDLE,
        Input.DISCONNECTED: _KEEP_IDLE,
    },
    State.LIVE: {
        Input.BEGUN_LIVE: Step(State.LIVE, Effect.RAISE),
        Input.BEGUN_BEHIND: Step(State.CATCHING_UP, Effect.RAISE),
        Input.RESULT_WITH_START: Step(State.CATCHING_UP, Effect.BEGIN),
        Input.RESULT_WITHOUT_START: Step(State.LIVE, Effect.RAISE),
        Input.REFUSED: Step(State.LIVE, Effect.KEEP),
        Input.LIVE_EVENT: Step(State.LIVE, Effect.COUNT),
        Input.REPLAYED_EVENT: Step(State.LIVE, Effect.COUNT),
        Input.PING: Step(State.LIVE, Effect.RAISE),
        Input.CAUGHT_UP: Step(State.LIVE, Effect.RAISE),
        Input.FELL_BEHIND: Step(State.CATCHING_UP, Effect.RAISE),
        Input.GAP: Step(State.LIVE, Effect.GAP),
        Input.ENDED: _KEEP_IDLE,
        Input.DISCONNECTED: _KEEP_IDLE,
    },
}
