"""The state machine of a task that a runner holds: what all that can happen does to it, every cell written.

It is the runner's own side. What readers make of the events is `lastseen.task_state`, which knows no more than the
words in STATUS.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from lastseen.task_state import TaskState

from service.domain.commands import TASK_ENDED


class State(Enum):
    """What a task is to its runner."""

    PENDING = auto()
    """Taken on; its program has not been started."""
    RUNNING = auto()
    WAITING = auto()
    """It runs, and has asked something that nobody has answered yet."""
    PAUSED = auto()
    PAUSED_WAITING = auto()
    """Paused with a question open."""
    CANCELLING = auto()
    """It is being ended because somebody wants that."""
    TIMING_OUT = auto()
    """It is being ended because its time is up."""
    INHERITED = auto()
    """The program has ended; others of its group go on and hold its output."""
    DRAINING = auto()
    """It has ended, and nobody of its group is left; the rest of its output is read."""
    ENDED = auto()
    """The last event has been said, or may not be said any more."""


class Input(Enum):
    """What can happen to a task."""

    STARTED = auto()
    """Its program runs."""
    NOT_STARTED = auto()
    """Its program could not be started, or is not to be."""
    ASKED = auto()
    """A question is open."""
    ANSWERED = auto()
    """No question is open any more."""
    INPUT = auto()
    CONFIRM = auto()
    PAUSE = auto()
    RESUME = auto()
    CANCEL = auto()
    TIME_UP = auto()
    EXITED = auto()
    """The program and all of its group have ended."""
    LEFT_HEIRS = auto()
    """The program has ended, others of its group have not."""
    OVER = auto()
    """No more of its output is to come, and nobody of its group is left."""
    LOST = auto()
    """Its lease is lost: it is another's to say what becomes of it."""


class Action(Enum):
    """What is done about it."""

    NOTHING = auto()
    TELL = auto()
    """Say that its status has changed, and nothing else."""
    WRITE = auto()
    """Write to the program."""
    STOP = auto()
    """Stop the whole group where it is, and say so."""
    CONTINUE = auto()
    """Let the group go on, and say so."""
    END_GROUP = auto()
    """End the group with one signal after the other."""
    FINISH = auto()
    """Say how it ended."""
    KILL = auto()
    """End the group at once, and say nothing."""
    REJECT = auto()
    """The command is not applied; the step says why."""


class Step(NamedTuple):
    """The state that follows, and what is done."""

    state: State
    action: Action
    reason: str | None = None
    """Why a command is rejected."""


STATUS: Final = {
    State.PENDING: "pending",
    State.RUNNING: TaskState.RUNNING.value,
    State.WAITING: TaskState.WAITING.value,
    State.PAUSED: TaskState.PAUSED.value,
    State.PAUSED_WAITING: TaskState.PAUSED.value,
}
"""What `task_status_change` says of a state. In the others the status stays what it was, until the last one."""

COMMANDS: Final = frozenset({Input.INPUT, Input.CONFIRM, Input.PAUSE, Input.RESUME, Input.CANCEL})
"""What is asked for, and may be rejected."""

NOT_RUNNING: Final = "not_running"
ALREADY_PAUSED: Final = "already_paused"
NOT_PAUSED: Final = "not_paused"
NO_CONFIRMATION: Final = "no_confirmation"

_FINISH: Final = Step(State.ENDED, Action.FINISH)
_KILL: Final = Step(State.ENDED, Action.KILL)
_CANCEL: Final = Step(State.CANCELLING, Action.END_GROUP)
_TIME_OUT: Final = Step(State.TIMING_OUT, Action.END_GROUP)


def _stay(state: State) -> Step:
    return Step(state, Action.NOTHING)


def _reject(state: State, reason: str = TASK_ENDED) -> Step:
    return Step(state, Action.REJECT, reason)


def _write(state: State) -> Step:
    return Step(state, Action.WRITE)


TABLE: Final[dict[State, dict[Input, Step]]] = {
    State.PENDING: {
        Input.STARTED: Step(State.RUNNING, Action.TELL),
        Input.NOT_STARTED: _FINISH,
        Input.ASKED: _stay(State.PENDING),
        Input.ANSWERED: _stay(State.PENDING),
        Input.INPUT: _reject(State.PENDING, NOT_RUNNING),
        Input.CONFIRM: _reject(State.PENDING, NOT_RUNNING),
        Input.PAUSE: _reject(State.PENDING, NOT_RUNNING),
        Input.RESUME: _reject(State.PENDING, NOT_RUNNING),
        # There is no group yet: it is not started at all.
        Input.CANCEL: Step(State.CANCELLING, Action.NOTHING),
        Input.TIME_UP: _stay(State.PENDING),
        Input.EXITED: _stay(State.PENDING),
        Input.LEFT_HEIRS: _stay(State.PENDING),
        Input.OVER: _stay(State.PENDING),
        Input.LOST: _KILL,
    },
    State.RUNNING: {
        Input.STARTED: _stay(State.RUNNING),
        Input.NOT_STARTED: _stay(State.RUNNING),
        Input.ASKED: Step(State.WAITING, Action.TELL),
        Input.ANSWERED: _stay(State.RUNNING),
        Input.INPUT: _write(State.RUNNING),
        Input.CONFIRM: _reject(State.RUNNING, NO_CONFIRMATION),
        Input.PAUSE: Step(State.PAUSED, Action.STOP),
        Input.RESUME: _reject(State.RUNNING, NOT_PAUSED),
        Input.CANCEL: _CANCEL,
        Input.TIME_UP: _TIME_OUT,
        Input.EXITED: _stay(State.DRAINING),
        Input.LEFT_HEIRS: _stay(State.INHERITED),
        Input.OVER: _stay(State.RUNNING),
        Input.LOST: _KILL,
    },
    State.WAITING: {
        Input.STARTED: _stay(State.WAITING),
        Input.NOT_STARTED: _stay(State.WAITING),
        Input.ASKED: _stay(State.WAITING),
        Input.ANSWERED: Step(State.RUNNING, Action.TELL),
        Input.INPUT: _write(State.WAITING),
        # Whether another question stays open is not known before it is answered: ANSWERED follows if none does.
        Input.CONFIRM: _write(State.WAITING),
        Input.PAUSE: Step(State.PAUSED_WAITING, Action.STOP),
        Input.RESUME: _reject(State.WAITING, NOT_PAUSED),
        Input.CANCEL: _CANCEL,
        Input.TIME_UP: _TIME_OUT,
        Input.EXITED: _stay(State.DRAINING),
        Input.LEFT_HEIRS: _stay(State.INHERITED),
        Input.OVER: _stay(State.WAITING),
        Input.LOST: _KILL,
    },
    State.PAUSED: {
        Input.STARTED: _stay(State.PAUSED),
        Input.NOT_STARTED: _stay(State.PAUSED),
        # What it wrote before it was stopped is still read.
        Input.ASKED: _stay(State.PAUSED_WAITING),
        Input.ANSWERED: _stay(State.PAUSED),
        # It reads that when it goes on.
        Input.INPUT: _write(State.PAUSED),
        Input.CONFIRM: _reject(State.PAUSED, NO_CONFIRMATION),
        Input.PAUSE: _reject(State.PAUSED, ALREADY_PAUSED),
        Input.RESUME: Step(State.RUNNING, Action.CONTINUE),
        Input.CANCEL: _CANCEL,
        Input.TIME_UP: _TIME_OUT,
        # Somebody else killed it.
        Input.EXITED: _stay(State.DRAINING),
        Input.LEFT_HEIRS: _stay(State.INHERITED),
        Input.OVER: _stay(State.PAUSED),
        Input.LOST: _KILL,
    },
    State.PAUSED_WAITING: {
        Input.STARTED: _stay(State.PAUSED_WAITING),
        Input.NOT_STARTED: _stay(State.PAUSED_WAITING),
        Input.ASKED: _stay(State.PAUSED_WAITING),
        Input.ANSWERED: _stay(State.PAUSED),
        Input.INPUT: _write(State.PAUSED_WAITING),
        Input.CONFIRM: _write(State.PAUSED_WAITING),
        Input.PAUSE: _reject(State.PAUSED_WAITING, ALREADY_PAUSED),
        Input.RESUME: Step(State.WAITING, Action.CONTINUE),
        Input.CANCEL: _CANCEL,
        Input.TIME_UP: _TIME_OUT,
        Input.EXITED: _stay(State.DRAINING),
        Input.LEFT_HEIRS: _stay(State.INHERITED),
        Input.OVER: _stay(State.PAUSED_WAITING),
        Input.LOST: _KILL,
    },
    State.CANCELLING: {
        # It was cancelled while it was being started.
        Input.STARTED: _CANCEL,
        Input.NOT_STARTED: _FINISH,
        Input.ASKED: _stay(State.CANCELLING),
        Input.ANSWERED: _stay(State.CANCELLING),
        Input.INPUT: _reject(State.CANCELLING),
        Input.CONFIRM: _reject(State.CANCELLING),
        Input.PAUSE: _reject(State.CANCELLING),
        Input.RESUME: _reject(State.CANCELLING),
        Input.CANCEL: _reject(State.CANCELLING),
        Input.TIME_UP: _stay(State.CANCELLING),
        Input.EXITED: _stay(State.CANCELLING),
        Input.LEFT_HEIRS: _stay(State.CANCELLING),
        Input.OVER: _FINISH,
        Input.LOST: _KILL,
    },
    State.TIMING_OUT: {
        Input.STARTED: _stay(State.TIMING_OUT),
        Input.NOT_STARTED: _stay(State.TIMING_OUT),
        Input.ASKED: _stay(State.TIMING_OUT),
        Input.ANSWERED: _stay(State.TIMING_OUT),
        Input.INPUT: _reject(State.TIMING_OUT),
        Input.CONFIRM: _reject(State.TIMING_OUT),
        Input.PAUSE: _reject(State.TIMING_OUT),
        Input.RESUME: _reject(State.TIMING_OUT),
        Input.CANCEL: _reject(State.TIMING_OUT),
        Input.TIME_UP: _stay(State.TIMING_OUT),
        Input.EXITED: _stay(State.TIMING_OUT),
        Input.LEFT_HEIRS: _stay(State.TIMING_OUT),
        Input.OVER: _FINISH,
        Input.LOST: _KILL,
    },
    State.INHERITED: {
        Input.STARTED: _stay(State.INHERITED),
        Input.NOT_STARTED: _stay(State.INHERITED),
        Input.ASKED: _stay(State.INHERITED),
        Input.ANSWERED: _stay(State.INHERITED),
        Input.INPUT: _reject(State.INHERITED),
        Input.CONFIRM: _reject(State.INHERITED),
        Input.PAUSE: _reject(State.INHERITED),
        Input.RESUME: _reject(State.INHERITED),
        # Nothing else ends heirs that write for ever.
        Input.CANCEL: _CANCEL,
        Input.TIME_UP: _TIME_OUT,
        Input.EXITED: _stay(State.DRAINING),
        Input.LEFT_HEIRS: _stay(State.INHERITED),
        Input.OVER: _FINISH,
        Input.LOST: _KILL,
    },
    State.DRAINING: {
        Input.STARTED: _stay(State.DRAINING),
        Input.NOT_STARTED: _stay(State.DRAINING),
        Input.ASKED: _stay(State.DRAINING),
        Input.ANSWERED: _stay(State.DRAINING),
        Input.INPUT: _reject(State.DRAINING),
        Input.CONFIRM: _reject(State.DRAINING),
        Input.PAUSE: _reject(State.DRAINING),
        Input.RESUME: _reject(State.DRAINING),
        Input.CANCEL: _reject(State.DRAINING),
        Input.TIME_UP: _stay(State.DRAINING),
        Input.EXITED: _stay(State.DRAINING),
        Input.LEFT_HEIRS: _stay(State.DRAINING),
        Input.OVER: _FINISH,
        Input.LOST: _KILL,
    },
    State.ENDED: {
        Input.STARTED: _stay(State.ENDED),
        Input.NOT_STARTED: _stay(State.ENDED),
        Input.ASKED: _stay(State.ENDED),
        Input.ANSWERED: _stay(State.ENDED),
        Input.INPUT: _reject(State.ENDED),
        Input.CONFIRM: _reject(State.ENDED),
        Input.PAUSE: _reject(State.ENDED),
        Input.RESUME: _reject(State.ENDED),
        Input.CANCEL: _reject(State.ENDED),
        Input.TIME_UP: _stay(State.ENDED),
        Input.EXITED: _stay(State.ENDED),
        Input.LEFT_HEIRS: _stay(State.ENDED),
        Input.OVER: _stay(State.ENDED),
        # A last event that is still on its way must not be said.
        Input.LOST: _KILL,
    },
}
