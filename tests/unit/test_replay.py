"""What a replay believes while everything moves between two of its questions."""

from collections.abc import Mapping

from lastseen.positions import Position
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.domain.ranges import Bounds
from service.domain.window import Window
from service.node.head import Head
from service.node.replay import Replay
from service.node.sources import Sources
from service.ports import Epoch
from tests.raw import task_event


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
