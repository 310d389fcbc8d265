"""Whatever happens to the subscriptions of a connection, each one's state is what the table says."""

from collections.abc import Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.domain.subscription_table import TABLE, Action, Input, State
from service.domain.subscriptions import CatchUp, Offline, Subscriptions

CHANNELS = ["user:u", "broadcast", "project:p", "task:t"]
channels = st.sampled_from(CHANNELS)
HEAD: Mapping[int, int] = {0: 9}


def test_every_cell_is_written_and_keeps_only_what_stays_as_it_is() -> None:
    for state in State:
        assert TABLE[state].keys() == set(Input)
        for what, step in TABLE[state].items():
            assert (step.action is Action.KEEP) == (step.state is state and step.action is not Action.BEGIN_AGAIN), what


class Conversation(RuleBasedStateMachine):
    """The subscriptions of one connection beside what the table makes of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = Subscriptions()
        self.states = dict.fromkeys(CHANNELS, State.ABSENT)

    def _take(self, channel: str, what: Input) -> Action:
        step = TABLE[self.states[channel]][what]
        self.states[channel] = step.state
        return step.action

    @property
    def _unasked(self) -> CatchUp | None:
        return next((group for group in self.subscriptions.catch_ups if not group.asked), None)

    @rule(channel=channels)
    def begin(self, channel: str) -> None:
        before = self._unasked
        action = self._take(channel, Input.BEGUN if before is None else Input.BEGUN_BESIDE)
        joined = self.subscriptions.begin(channel, HEAD)
        assert joined is (before if action is Action.JOIN else None)

    @rule(chosen=st.sets(channels, min_size=1))
    def start(self, chosen: set[str]) -> None:
        for channel in chosen:
            assert self._take(channel, Input.STARTED) is Action.BEGIN_AGAIN
        group = self.subscriptions.start({channel: {0: number} for number, channel in enumerate(sorted(chosen))})
        assert set(group.channels) == chosen
        assert group.cursor == {0: 0}, "the lowest of the starts"

    @rule()
    def start_offline(self) -> None:
        if self._unasked is None and self.states["user:u"] is State.ABSENT:
            self._take("user:u", Input.STARTED)
            group = self.subscriptions.start_offline(Offline("user:u", HEAD, 0), {0: 3}, HEAD)
            assert self._unasked is group

    @rule()
    def overflow(self) -> None:
        fallen = {name for name in CHANNELS if self._take(name, Input.OVERFLOW) is Action.FALL_BEHIND}
        found = self.subscriptions.fall_behind(HEAD)
        assert set(found[1] if found else ()) == fallen
        if found:
            assert self._unasked is found[0], "there is one catch-up at most that nobody asked for"

    @rule(number=st.integers(0, 3))
    def reach_the_head(self, number: int) -> None:
        groups = self.subscriptions.catch_ups
        if number < len(groups):
            named = list(groups[number].channels)
            assert all(self._take(channel, Input.AT_HEAD) is Action.GO_LIVE for channel in named)
            assert self.subscriptions.finish(groups[number]) == named
            assert not groups[number].channels

    @rule(channel=channels)
    def end(self, channel: str) -> None:
        dropped = self._take(channel, Input.ENDED) is Action.DROP
        assert self.subscriptions.remove(channel) is dropped

    @invariant()
    def it_is_as_the_table_says(self) -> None:
        for channel, state in self.states.items():
            assert self.subscriptions.state_of(channel) is state
            group = self.subscriptions.catch_up_of(channel)
            assert (group is not None and channel in group.channels) == (state is State.CATCHING_UP)
        wanted = [channel for channel, state in self.states.items() if state is not State.ABSENT]
        assert sorted(self.subscriptions.channels) == sorted(wanted)
        assert sum(not group.asked for group in self.subscriptions.catch_ups) <= 1


Conversation.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestConversation = Conversation.TestCase
