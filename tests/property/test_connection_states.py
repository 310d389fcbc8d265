"""A connection obeys the table of its states: every cell of it, and any walk through it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from lastseen import close_codes

from service.adapters.memory import MemoryLog
from service.domain.duplicates import LookBack
from service.domain.frames import message_frame
from service.domain.identity import Identity
from service.domain.messages import Start, ping
from service.domain.protocol import GOODBYES, TABLE, Action, Input, State
from service.domain.records import read_record
from service.domain.subscriptions import CatchUp
from service.node.node import Node
from service.node.replay import Page
from service.node.tail import TailStart
from service.ports import Epoch
from service.settings import Settings
from tests.outside import from_nothing, outside_of
from tests.raw import raw_of, task_event
from tests.simulation import SimulatedLoop, SimulatedPort

SETTINGS = Settings(high_water_bytes=1024)
ANN = Identity("ann", "", frozenset(), frozenset(), 2**33)
LIVE = ["user:ann", "task:t"]
GOODBYE = (close_codes.POLICY, close_codes.PROJECT_DENIED)
SAID: dict[Action, list[str]] = {
    Action.NOTHING: [],
    Action.GREET: ["connection_established"],
    Action.ACT: ["pong"],
    Action.WRITE: ["task_output"],
    Action.UNSUBSCRIBE: ["unsubscribed"],
    Action.PING: ["ping"],
    Action.WARN: ["token_expiring"],
    Action.CLOSE: [],
    Action.RELEASE: [],
}
"""The messages that the client gets because of an action. FALL_BEHIND is another matter: much has to be written."""


class Driven:
    """A connection, the state that it ought to be in, and what makes each thing happen to it."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        clock: Any = SimpleNamespace(now_ms=lambda: 0)
        start = TailStart({0: 0}, {0: 0}, {0: LookBack()})
        self.node = Node(SETTINGS, outside_of(MemoryLog(1), clock), Epoch(1, "e", 1), from_nothing(start), tasks)
        self.port = SimulatedPort(self.node.services.low_water)
        connection = self.node.connect(self.port, ANN)
        assert connection is not None
        self.connection = self.port.connection = connection
        self.state = State.OPENING
        self.closed: tuple[int, str] | None = None
        self._next = 0
        self._happen: dict[Input, Callable[[], Awaitable[None]]] = {
            Input.ADMITTED: self._admit,
            Input.REFUSED: self._refuse,
            Input.MESSAGE: self._say,
            Input.EVENTS: self._publish,
            Input.PAGE: self._page,
            Input.OVERFLOW: self._flood,
            Input.RIGHT_ENDED: self._end_right,
            Input.HEARTBEAT: self._ping,
            Input.EXPIRY_NEAR: self._expire_soon,
            Input.RENEWED: self._renew,
            Input.LOST: self._lose,
        }

    async def take(self, what: Input) -> None:
        """Let it happen; check what the client gets, and what the connection still holds."""
        step = TABLE[self.state][what]
        self.state = step.state
        if step.action is Action.CLOSE:
            self.closed = GOODBYES.get(what, GOODBYE)
        happen = self._happen.get(what)
        if happen is not None:
            await happen()
        else:
            self.connection.end(what)
        await asyncio.sleep(0)
        said = [message["type"] for message in self.port.read(1000)]
        if step.action is Action.FALL_BEHIND:
            await self._check_overflow(said)
        else:
            assert said == SAID[step.action], (what, step)
        self.check()

    def check(self) -> None:
        """Its state as far as it is seen from without."""
        assert self.port.closed == self.closed
        assert self.connection.is_gone is (self.state is State.CLOSED)
        is_watching = self.state in (State.OPEN, State.EXPIRING)
        assert sorted(self.node.services.connections.channels) == (sorted(LIVE) if is_watching else [])
        assert self.connection.subscriptions.live == (set(LIVE) if is_watching else set())

    async def _check_overflow(self, said: list[str]) -> None:
        assert "fell_behind" in said
        while "caught_up" not in said:
            await asyncio.sleep(0)
            said += [message["type"] for message in self.port.read(1000)]
        assert said.count("task_output") == 30, "and each event once"

    async def _admit(self) -> None:
        if self.connection.greet([Start(channel, "e:0=0", live=True) for channel in LIVE]):
            for channel in LIVE:
                self.connection.begin_live(channel, self.node.services.window.heads())

    async def _refuse(self) -> None:
        self.connection.close(*GOODBYE)

    async def _say(self) -> None:
        await self.connection.receive(json.dumps({"type": "ping"}))

    async def _publish(self, count: int = 1, **data: object) -> None:
        events = [raw_of(0, self._next + n, task_event(user_id="ann", data=data)) for n in range(count)]
        self._next += count
        self.node.tail.step(events, {0: self._next})

    async def _flood(self) -> None:
        for _ in range(30):
            await self._publish(text="x" * 100)

    async def _page(self) -> None:
        group = CatchUp({0: -1}, asked=True, channels={"task:t": {0: -1}})
        self.connection.deliver(group, Page([read_record(raw_of(0, 0, task_event()))], {0: 0}))

    async def _end_right(self) -> None:
        # Begun as one that was granted once: there is no project of this name any more.
        if self.state is not State.OPENING:
            self.connection.begin_live("project:gone", self.node.services.window.heads())
        self.connection.judge_again(["project:gone"], "rights")

    async def _ping(self) -> None:
        token = self.node.services.head.token
        self.connection.ping(message_frame(ping(0, token)), token)
        await self.connection.receive('{"type":"pong"}')

    async def _expire_soon(self) -> None:
        self.connection.expiry_near()

    async def _renew(self) -> None:
        self.connection.renew(ANN)

    async def _lose(self) -> None:
        self.connection.gone()


def test_every_cell_is_written_and_closed_is_final() -> None:
    assert TABLE.keys() == set(State)
    for state, row in TABLE.items():
        assert row.keys() == set(Input), state
        for what, step in row.items():
            if state is State.CLOSED:
                assert step == (State.CLOSED, Action.NOTHING)
            else:
                ends = step.action in (Action.CLOSE, Action.RELEASE)
                assert (step.state is State.CLOSED) is ends
                assert (step.action is Action.RELEASE) is (what is Input.LOST)
                if step.action is Action.CLOSE:
                    assert (what in GOODBYES) is (what is not Input.REFUSED)
    for code, reason in GOODBYES.values():
        assert code in close_codes.CLOSE_CODES
        assert len(reason.encode()) <= 123, "what a close frame holds"


WAYS = {
    State.OPENING: [],
    State.OPEN: [Input.ADMITTED],
    State.EXPIRING: [Input.ADMITTED, Input.EXPIRY_NEAR],
    State.CLOSED: [Input.ADMITTED, Input.LOST],
}


@pytest.mark.parametrize("what", Input)
@pytest.mark.parametrize("state", State)
async def test_a_connection_obeys_each_cell(state: State, what: Input) -> None:
    async with asyncio.TaskGroup() as tasks:
        driven = Driven(tasks)
        for earlier in WAYS[state]:
            await driven.take(earlier)
        assert driven.state is state
        await driven.take(what)
        driven.node.puller.cancel()


GOES_ON = [what for what, step in TABLE[State.OPEN].items() if step.state is not State.CLOSED]


class Walk(RuleBasedStateMachine):
    """Anything in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=SimulatedLoop)
        self.ending = asyncio.Event()
        self.driven = self.runner.run(self._begin())

    async def _begin(self) -> Driven:
        begun: asyncio.Future[Driven] = asyncio.get_running_loop().create_future()

        async def live() -> None:
            async with asyncio.TaskGroup() as tasks:
                begun.set_result(Driven(tasks))
                await self.ending.wait()
                (await begun).node.puller.cancel()

        self.living = asyncio.create_task(live())
        return await begun

    @rule(what=st.sampled_from([*GOES_ON * 5, *Input]))
    def happen(self, what: Input) -> None:
        self.runner.run(self.driven.take(what))

    @invariant()
    def is_as_it_ought_to_be(self) -> None:
        self.driven.check()

    def teardown(self) -> None:
        async def end() -> None:
            self.ending.set()
            await self.living

        self.runner.run(end())
        self.runner.close()


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
