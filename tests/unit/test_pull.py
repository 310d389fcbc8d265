"""What a node holds of a replay for a client that does not take it."""

import asyncio
import weakref
from collections import UserList
from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

from service.adapters.memory_cursors import MemoryCursors
from service.domain.identity import Identity
from service.domain.records import Record
from service.node.recent_pages import RecentPages
from service.ports import HistoryPage
from service.settings import Settings
from tests.raw import task_event
from tests.simulated_server import Line, Server
from tests.simulation import SimulatedHistory, SimulatedLog, SimulatedPort, SimulatedRights, simulate

LOOK_BACK = 5
COUNT, SIZE = 300, 4_000
SETTINGS = Settings(window_bytes=20_000, window_offsets=4, high_water_bytes=16_384, look_back=LOOK_BACK)
USER = Identity("u", "admin", frozenset(), frozenset(), 2**40)
PAGE = 36
"""Records that a page has at most: more than a slice."""
LONG = 20.0


class _Records(UserList[Record]):
    """Can be referred to weakly."""


class _History(SimulatedHistory):
    """Shows which of its pages are still held by somebody, and what was asked for."""

    def __init__(self, log: SimulatedLog) -> None:
        super().__init__(log, LOOK_BACK)
        self._pages: weakref.WeakValueDictionary[int, _Records] = weakref.WeakValueDictionary()
        self.limits: list[int] = []

    @property
    def held(self) -> int:
        return len(self._pages)

    async def page(
        self,
        channels: Sequence[str],
        after: Mapping[int, int],
        upto: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
        *,
        offline: bool = False,
    ) -> HistoryPage:
        self.limits.append(limit)
        (start,) = after.values()
        wanted = [one for one in self._records[0] if start < one.offset <= upto[0]][: min(limit, PAGE)]
        records = _Records(wanted)
        self._pages[len(self.limits)] = records
        return HistoryPage(records, {0: wanted[-1].offset if wanted else upto[0]})


async def _following(history: _History, log: SimulatedLog, subscribes: int) -> tuple[Server, Line, SimulatedPort]:
    """A client that has asked for everything, so many times over, of a node that has it in its history alone."""
    for number in range(COUNT):
        log.add(0, task_event(f"t{number % subscribes}", id=f"e{number}", data={"n": number, "text": "x" * SIZE}))
    await history.project()
    server = Server(SETTINGS, log, history, SimulatedRights(log, LOOK_BACK), MemoryCursors())
    server.start()
    await server.ready()
    assert server.node is not None
    # What is kept for others is bounded, and no client's.
    server.node.sources._recent = RecentPages(0)
    port = SimulatedPort(server.node.services.low_water)
    line = Line(server, port, USER)
    line.open(None, None, None)
    # What came while away, of which there is nothing, is looked for with the same pages: it is over.
    await asyncio.sleep(LONG)
    port.read(1_000)
    history.limits.clear()
    for number in range(subscribes):
        line.send({"type": "subscribe", "channel": f"task:t{number}", "after": "earliest"})
    await asyncio.sleep(LONG)
    return server, line, port


async def _take_all(port: SimulatedPort) -> list[int]:
    """What comes to a client that reads again, until nothing more does."""
    got: list[dict[str, Any]] = []
    while messages := port.read(1_000_000):
        got += messages
        await asyncio.sleep(LONG)
    return _numbers(got)


def _numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["data"]["n"] for message in messages if message["type"] == "task_output"]


def test_nothing_but_what_was_written_is_held_for_a_client_that_reads_nothing() -> None:
    async def main() -> None:
        log = SimulatedLog(1, Random(1))
        history = _History(log)
        server, line, port = await _following(history, log, subscribes=1)
        assert history.limits, "it was served a part"
        assert history.held == 0
        asked = len(history.limits)
        await asyncio.sleep(LONG)
        assert len(history.limits) == asked, "nothing is read while there is no room"
        assert await _take_all(port) == list(range(COUNT))
        assert max(history.limits[asked:]) < PAGE, "and then no more than it takes at once"
        await line.cut()
        await server.stop()

    simulate(main)


def test_of_many_catch_ups_of_a_client_none_holds_a_page_while_another_has_its_turn() -> None:
    async def main() -> None:
        log = SimulatedLog(1, Random(1))
        history = _History(log)
        server, line, port = await _following(history, log, subscribes=20)
        got: list[int] = []
        while len(got) < COUNT // 3:
            got += _numbers(port.read(1_000_000))
            await asyncio.sleep(0)
        await asyncio.sleep(LONG)
        assert len(history.limits) > 5, "many of them have had a page"
        assert history.held == 0
        assert sorted(got + await _take_all(port)) == list(range(COUNT))
        await line.cut()
        await server.stop()

    simulate(main)
