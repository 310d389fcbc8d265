"""A crowd that reads Kafka: each stretch once, judged as each would judge it alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from random import Random

import pytest
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.domain.errors import HistoryUnavailable
from service.domain.window import Window
from service.node import log_pages
from service.node.head import Head
from service.node.replay import Replay
from service.node.sources import Sources
from service.ports import Epoch, TailBatch
from tests.raw import task_event

COUNT = 60
LOOK_BACK = 10


class Counted(MemoryLog):
    """Says how often each offset was read."""

    def __init__(self) -> None:
        super().__init__(1)
        self.reads: Counter[int] = Counter()

    async def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        self.reads.update(range(start, stop))
        await asyncio.sleep(0)
        async for batch in super().read(partition, start, stop):
            yield batch


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pages, "_ALIGNED", 5)


async def filled() -> Counted:
    """Every seventh record is a duplicate of the one three before it."""
    log = Counted()
    await log.append([encode(task_event(id=f"e{n - 3 if n % 7 == 6 else n}")) for n in range(COUNT)])
    return log


def replay_of(log: MemoryLog, history: MemoryHistory) -> Replay:
    window = Window({0: COUNT}, 10_000)
    return Replay(window, Head(window, "e"), Sources(log, history, 4), Epoch(1, "e", 1), LOOK_BACK)


async def offsets(replay: Replay, sources: Sources, after: int, upto: int) -> list[int]:
    found: list[int] = []
    async with aclosing(replay.logged(after, 0, upto, await sources.held())) as pages:
        async for page in pages:
            assert not found or page.served[0] > found[-1]
            found += [record.offset for record in page.records]
            await asyncio.sleep(0)
    assert page.served == {0: upto}
    return found


EXPECTED = [n for n in range(COUNT) if n % 7 != 6]


async def test_each_stretch_is_read_once_wherever_each_begins() -> None:
    log = await filled()
    history = MemoryHistory(log, LOOK_BACK)
    replay, sources = replay_of(log, history), Sources(log, history, 4)
    random = Random(1)
    ranges = [
        (after, random.randint(after + 1, COUNT - 1)) for after in (random.randrange(COUNT - 1) for _ in range(50))
    ]
    found = await asyncio.gather(*(offsets(replay, sources, *range_) for range_ in ranges))
    for (after, upto), got in zip(ranges, found, strict=True):
        assert got == [n for n in EXPECTED if after < n <= upto], (after, upto)
    # A page that nobody has come to from the one before is judged with what lies before it: W offsets more.
    assert max(log.reads.values()) <= 1 + LOOK_BACK // 5
    again = log.reads.copy()
    assert await offsets(replay, sources, 12, 48) == [n for n in EXPECTED if 12 < n <= 48]
    assert log.reads == again, "kept for a moment"


async def test_what_just_suffices_to_judge_is_enough() -> None:
    log = await filled()
    history = MemoryHistory(log, LOOK_BACK)
    history.available = False
    replay, sources = replay_of(log, history), Sources(log, history, 4)
    log.drop_below(0, 13)
    assert await offsets(replay, sources, 22, 40) == [n for n in EXPECTED if 22 < n <= 40]
    with pytest.raises(HistoryUnavailable):
        await offsets(replay, sources, 21, 40)
