"""Pages of the history that many want, and servers that are away."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import pytest
from lastseen.record import encode

from service.adapters.memory import MemoryHistory, MemoryLog
from service.domain.errors import LogUnavailable
from service.domain.ranges import Bounds
from service.node.sources import Sources
from service.ports import HistoryPage
from tests.raw import task_event

CHANNEL = ("task:t",)


class Counting(MemoryHistory):
    """Says how many pages it was asked for, and how many at once."""

    pages = 0
    at_once = 0
    most_at_once = 0

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
        self.pages += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            return await super().page(channels, after, upto, limit, types, offline=offline)
        finally:
            self.at_once -= 1


async def filled(count: int, reads: int = 2) -> tuple[Sources, Counting]:
    log = MemoryLog(1)
    await log.append([encode(task_event(id=f"e{number}")) for number in range(count)])
    history = Counting(log)
    await history.project()
    return Sources(log, history, reads), history


async def test_a_crowd_at_one_place_reads_a_page_once_however_far_each_was_to_read() -> None:
    sources, history = await filled(20)
    upto = [{0: 15 + number % 5} for number in range(100)]
    pages = await asyncio.gather(*(sources.page("u", CHANNEL, {0: 4}, end, 5) for end in upto))
    assert history.pages == 1
    assert {tuple(record.offset for record in page.records) for page in pages} == {(5, 6, 7, 8, 9)}
    await sources.page("u", CHANNEL, {0: 4}, {0: 19}, 5)
    assert history.pages == 1, "a full page is kept: nothing can be added to it"


async def test_a_page_that_may_still_grow_is_not_kept() -> None:
    sources, history = await filled(20)
    first = await sources.page("u", CHANNEL, {0: 16}, {0: 17}, 5)
    assert [record.offset for record in first.records] == [17]
    second = await sources.page("u", CHANNEL, {0: 16}, {0: 19}, 5)
    assert [record.offset for record in second.records] == [17, 18, 19]
    assert history.pages == 2


async def test_different_ranges_are_read_few_at_once() -> None:
    sources, history = await filled(30, reads=2)
    await asyncio.gather(*(sources.page(f"u{at}", CHANNEL, {0: at}, {0: 29}, 5) for at in range(20)))
    assert (history.pages, history.most_at_once) == (20, 2)


async def test_where_offline_messages_end_is_part_of_what_is_asked() -> None:
    sources, history = await filled(20)
    ask = [sources.page("u", CHANNEL, {0: 4}, {0: end}, 5, offline=True) for end in (10, 11)]
    await asyncio.gather(*ask)
    assert history.pages == 2


async def test_what_kafka_had_is_known_while_it_is_away() -> None:
    log = MemoryLog(1)
    sources = Sources(log, MemoryHistory(log), 1)
    log.available = False
    assert (await sources.held())[:2] == ({}, False)
    with pytest.raises(LogUnavailable):
        await sources.bounds()
    log.available = True
    await log.append([encode(task_event())])
    assert (await sources.held())[:2] == ({0: Bounds(0, 1)}, True)
    log.available = False
    assert (await sources.held())[:2] == ({0: Bounds(0, 1)}, False)
