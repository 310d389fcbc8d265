"""How far back what came while away is delivered: 7 days, by the log's own times."""

from types import SimpleNamespace
from typing import Any

import pytest
from lastseen.envelope import Event
from lastseen.positions import Position
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.adapters.memory_cursors import MemoryCursors
from service.domain.identity import Identity
from service.node.node import running
from service.node.opening import open_conversation
from service.ports import CursorKey, Epoch
from service.settings import Settings
from tests.outside import outside_of
from tests.simulation import SimulatedPort
from tests.waiting import until

DAY_MS = 86_400_000
ANN = Identity("ann", "", frozenset(), frozenset(), 2**40)


class Past:
    """A log of one partition that was written over some days, and a node that begins now."""

    def __init__(self) -> None:
        self.now_ms = 100 * DAY_MS
        self.log = MemoryLog(1, lambda: self.now_ms)
        self.history = MemoryHistory(self.log)
        self.cursors = MemoryCursors()

    def notify(self, days_ago: float, type_: str = "user_notification") -> None:
        self.now_ms = int((100 - days_ago) * DAY_MS)
        event = Event.model_validate({"type": type_, "user_id": "ann", "data": {"days_ago": days_ago}})
        record = encode(event)
        self.log.append_raw(0, record.value, record.headers, record.key)
        self.now_ms = 100 * DAY_MS

    async def delivered(self, settings: Settings) -> list[float]:
        """What ann gets, by how long ago it came, up to the ping that follows it."""
        clock = SimpleNamespace(now_ms=lambda: self.now_ms)
        outside = outside_of(self.log, clock, self.history, cursors=self.cursors)
        async with running(settings, outside, Epoch(1, "e", 1)) as node:
            port = SimulatedPort(node.services.low_water)
            connection = node.connect(port, ANN)
            assert connection is not None
            port.connection = connection
            await open_conversation(connection, None, None, "phone")
            heard: list[dict[str, Any]] = []

            def pinged() -> bool:
                heard.extend(port.read(1000))
                return any(message["type"] == "ping" for message in heard)

            await until(pinged, what="the ping behind what came while away")
            node.disconnect(connection)
        # The node itself tells that ann has come.
        return [m["data"]["days_ago"] for m in heard if "days_ago" in m.get("data", ())]


SMALL = Settings(window_bytes=600, window_offsets=1)
"""A node whose window holds next to nothing."""


@pytest.mark.parametrize("settings", [Settings(), SMALL], ids=["window", "history"])
async def test_seven_days_and_no_more(settings: Settings) -> None:
    past = Past()
    for days_ago in (30, 7.01, 6.99, 3, 0.5):
        past.notify(days_ago)
    await past.history.project()
    assert await past.delivered(settings) == [6.99, 3, 0.5]


@pytest.mark.parametrize("settings", [Settings(), SMALL], ids=["window", "history"])
async def test_a_cursor_that_has_rested_for_longer_gives_no_more_than_that(settings: Settings) -> None:
    past = Past()
    for days_ago in (30.0, 20.0):
        past.notify(days_ago)
    await past.cursors.move({CursorKey("ann", "phone"): _at(0)})
    for days_ago in (7.01, 1.0):
        past.notify(days_ago)
    await past.history.project()
    assert await past.delivered(settings) == [1]
    await past.cursors.move({CursorKey("ann", "phone"): _at(3)})
    assert await past.delivered(settings) == []


async def test_what_belongs_to_its_task_or_its_moment_is_left_out() -> None:
    past = Past()
    for number, type_ in enumerate(["user_online", "user_notification", "user_offline", "user_action"]):
        past.notify(4 - number, type_)
    assert await past.delivered(Settings()) == [3, 1]


def _at(offset: int) -> Position:
    return Position("e", {0: offset})
