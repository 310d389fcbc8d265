"""What a node knows of tasks, when the history lags behind its window or does not answer."""

import pytest
from lastseen.envelope import Event
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.domain.errors import HistoryUnavailable, Unavailable
from service.domain.identity import Identity
from service.domain.records import read_record
from service.domain.window import Window
from service.node.access import Access
from service.node.head import Head
from service.node.tasks import Tasks
from service.ports import TaskFacts
from tests.raw import task_event

MEMBER = Identity("ann", "", frozenset({"p"}), frozenset(), 2**40)
STRANGER = Identity("bob", "", frozenset({"q"}), frozenset(), 2**40)


class Bench:
    """A log of one partition, a history that copies when told to, and what a node has read of it."""

    def __init__(self, window_from: int = 0, window_bytes: int = 100_000) -> None:
        self.log = MemoryLog(1)
        self.history = MemoryHistory(self.log)
        self.window = Window({0: window_from}, window_bytes)
        self.tasks = Tasks(self.history, self.window)
        self.access = Access(self.tasks, Head(self.window, "e"), self.log, settle_seconds=0.05)

    async def append(self, *events: Event, read: bool = True) -> None:
        await self.log.append([encode(event) for event in events])
        if read:
            await self.read()

    async def read(self) -> None:
        async for batch in self.log.read(0, self.window.next(0), (await self.log.bounds())[0].next):
            for raw in batch.records:
                record = read_record(raw)
                self.window.append(record)
                self.tasks.note(record)


START = task_event("t", "task_started", project_id="p", user_id="carl")
END = task_event("t", "task_completed", project_id="p", user_id="carl")


async def test_an_end_is_known_though_the_start_was_before_the_window_and_the_history_lags() -> None:
    bench = Bench(window_from=1)
    await bench.append(START, read=False)
    await bench.history.project()
    await bench.append(END)
    assert await bench.tasks.find("t") == TaskFacts("p", "carl", ended=True)


async def test_an_end_that_comes_after_the_question_is_known() -> None:
    bench = Bench(window_from=1)
    await bench.append(START, read=False)
    await bench.history.project()
    assert await bench.tasks.find("t") == TaskFacts("p", "carl", ended=False)
    await bench.append(END)
    assert await bench.tasks.find("t") == TaskFacts("p", "carl", ended=True)


@pytest.mark.parametrize("away", [False, True])
async def test_a_task_that_the_window_alone_knows(away: bool) -> None:
    bench = Bench()
    bench.history.available = not away
    await bench.append(task_event("t", "task_progress_update", project_id="p"))
    assert await bench.tasks.find("t") == TaskFacts("p", None, ended=False)
    assert await bench.access.judge(MEMBER, ["task:t"]) == {"task:t": True}
    assert await bench.access.judge(STRANGER, ["task:t"]) == {"task:t": False}


async def test_without_the_history_an_unknown_task_is_not_denied_but_unavailable() -> None:
    bench = Bench()
    bench.history.available = False
    with pytest.raises(HistoryUnavailable):
        await bench.tasks.find("t")
    assert isinstance((await bench.access.judge(MEMBER, ["task:t"]))["task:t"], HistoryUnavailable)


async def test_a_task_that_was_begun_a_moment_ago_is_waited_for() -> None:
    bench = Bench()
    await bench.append(START, read=False)
    verdict = (await bench.access.judge(MEMBER, ["task:t"]))["task:t"]
    assert isinstance(verdict, Unavailable), "the tail has not passed it: no denial is final"
    await bench.read()
    assert await bench.access.judge(MEMBER, ["task:t"]) == {"task:t": True}


async def test_what_left_the_window_before_it_was_copied_is_not_denied() -> None:
    bench = Bench(window_bytes=0)
    await bench.append(task_event("t", "task_progress_update", project_id="p"))
    assert isinstance((await bench.access.judge(MEMBER, ["task:t"]))["task:t"], Unavailable)
    await bench.history.project()
    assert await bench.access.judge(MEMBER, ["task:t", "task:unheard-of"]) == {"task:t": True, "task:unheard-of": False}
