"""What a replay believes while everything moves between two of its questions."""

from collections.abc import Mapping
from contextlib import aclosing

from lastseen.positions import Position
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.domain.ranges import Bounds
from service.domain.records import read_record
from service.domain.subscriptions import CatchUp
from service.domain.window import Window
from service.node.head import Head
from service.node.replay import Lost, Page, Replay
from service.node.sources import Sources
from service.ports import Epoch
from tests.raw import raw_of, task_event


class MovingLog(MemoryLog):
    """Just before it answers, the log writer copies everything and retention drops what was copied."""

    history: MemoryHistory

    async def bounds(self) -> Mapping[int, Bounds]:
        await self.history.project({0: 5})
        self.drop_below(0, 5)
        return await super().bounds()


async def test_what_is_copied_and_dropped_meanwhile_is_no_gap() -> None:
    log = MovingLog(1)
    # The copying itself looks at the log as it is.
    still = MemoryLog(1)
    log.history = MemoryHistory(still)
    for target in (log, still):
        await target.append([encode(task_event(id=f"e{number}")) for number in range(8)])
    window = Window({0: 6}, 10_000)
    replay = Replay(window, Head(window, "e"), Sources(log, log.history, 4), Epoch(1, "e", 1), look_back=10)
    beginning = await replay.begin(Position("e", {0: 1}))
    assert not beginning.lost
    assert beginning.cursor == {0: 1}


async def test_what_came_while_a_gap_was_taken_is_no_gap() -> None:
    log = MemoryLog(1)
    events = [task_event(id=f"e{number}") for number in range(8)]
    await log.append([encode(event) for event in events[:5]])
    log.drop_below(0, 5)
    window = Window({0: 5}, max_bytes=0)  # what it takes leaves it at once
    sources = Sources(log, MemoryHistory(log), 4)
    replay = Replay(window, Head(window, "e"), sources, Epoch(1, "e", 1), look_back=10)
    group = CatchUp({0: 1}, asked=True, channels={"task:t": {0: 1}})
    async with aclosing(replay.pages(group)) as pages:
        assert await anext(pages) == Lost({0: 4}, "retention")
        group.served(0, 4)
        await log.append([encode(event) for event in events[5:]])
        for offset in (5, 6, 7):
            window.append(read_record(raw_of(0, offset, events[offset])))
        page = await anext(pages)
    assert isinstance(page, Page)
    assert [record.offset for record in page.records] == [5, 6, 7]
