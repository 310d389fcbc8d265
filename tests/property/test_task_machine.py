"""The table of a held task: every cell of it, and what holds on any walk through it."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.task_machine import COMMANDS, STATUS, TABLE, Action, Input, State

ENDING = {State.CANCELLING, State.TIMING_OUT, State.INHERITED, State.DRAINING, State.ENDED}


def test_every_cell_is_written() -> None:
    assert TABLE.keys() == set(State)
    for state, row in TABLE.items():
        assert row.keys() == set(Input), state


def test_only_commands_are_rejected_and_with_a_reason() -> None:
    for state, row in TABLE.items():
        for what, step in row.items():
            assert (step.action is Action.REJECT) == (step.reason is not None)
            if step.action is Action.REJECT:
                assert what in COMMANDS
                assert step.state is state, "what is rejected changes nothing"
            elif what in COMMANDS:
                assert step.action in {Action.WRITE, Action.STOP, Action.CONTINUE, Action.END_GROUP} or (
                    state is State.PENDING and what is Input.CANCEL
                )


def test_a_change_of_status_is_told_and_nothing_else_is() -> None:
    for state, row in TABLE.items():
        for what, step in row.items():
            changes = step.state in STATUS and STATUS[step.state] != STATUS.get(state)
            assert changes == (step.action in {Action.TELL, Action.STOP, Action.CONTINUE}), (state, what)


def test_what_ends_stays_ending() -> None:
    for state in ENDING:
        assert {step.state for step in TABLE[state].values()} <= ENDING
    assert {step.state for step in TABLE[State.ENDED].values()} == {State.ENDED}
    assert not any(step.action is Action.FINISH for step in TABLE[State.ENDED].values()), "there is one last event"


@given(st.lists(st.sampled_from(Input), max_size=40))
def test_a_lost_task_says_nothing_more_and_a_cancelled_one_can_end(walk: list[Input]) -> None:
    state, finished = State.PENDING, 0
    for what in walk:
        step = TABLE[state][what]
        finished += step.action is Action.FINISH
        state = step.state
    assert finished <= 1
    assert TABLE[state][Input.LOST].state is State.ENDED
    if state not in ENDING | {State.PENDING}:
        after = TABLE[state][Input.CANCEL]
        assert after.action is Action.END_GROUP
        assert TABLE[after.state][Input.OVER].action is Action.FINISH
