"""What a reader of the past is told of what nobody holds any more."""

from collections.abc import Mapping

import pytest
from lastseen.positions import EARLIEST, Position

from service.domain.errors import HistoryUnavailable
from service.node import event_history
from service.node.event_history import Gap
from service.node.past import Range, Wanted
from tests.pasts import Past, places
from tests.raw import task_event

ALL = Wanted(("task:t",))


async def forgetful(*, dropped: int = 0, hole: tuple[int, int] | None = None) -> Past:
    """20 records of one partition, the last few in the window; some gone, or never copied."""
    past = Past(window_bytes=5_000, partitions=1)
    for number in range(20):
        past.now += 1_000
        past.add(task_event(data={"number": number}), 0)
    if hole is not None:
        await past.copied.project({0: hole[0]})
        past.log.drop_below(0, hole[1])
    await past.copied.project()
    past.log.drop_below(0, 18)
    past.copied.drop_below(0, dropped)
    assert 10 < past.window.first(0) < 18
    return past


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, {0: offset})


async def test_what_retention_dropped_is_a_gap_and_the_rest_comes() -> None:
    past = await forgetful(dropped=5)
    page = await past.history.forward(ALL, Range(after=at(2)), 3)
    assert page.gap == Gap("e:0=2", "e:0=4", "retention")
    assert [o for _, o in places(page.records)] == [5, 6, 7]
    assert (page.next, page.previous, page.watermark) == ("e:0=7", None, "e:0=19")
    for begin in (None, EARLIEST, at(4)):
        page = await past.history.forward(ALL, Range(after=begin), 100)
        assert (page.gap, len(page.records)) == (None, 15)


async def test_another_epoch_is_a_gap_and_everything_comes() -> None:
    past = await forgetful(dropped=5)
    page = await past.history.forward(ALL, Range(after=at(2, "old")), 100)
    assert page.gap == Gap("old:0=2", "e:0=4", "epoch")
    assert len(page.records) == 15
    # Offsets that this log never had are of another log too.
    page = await past.history.forward(ALL, Range(after=at(20)), 100)
    assert page.gap == Gap("e:0=20", "e:0=4", "epoch")
    for range_ in (Range(before=at(2, "old")), Range(before=at(25))):
        for page in (await past.history.backward(ALL, range_, 10), await past.history.forward(ALL, range_, 10)):
            assert page.gap is not None
            assert (page.gap.earliest, page.gap.reason, page.records) == ("e:0=4", "epoch", page.records[:0])
            assert (page.next, page.watermark) == ("e:0=4", "e:0=4"), "everything held lies behind it"


async def test_a_hole_is_a_gap_wherever_it_is_met() -> None:
    past = await forgetful(hole=(4, 8))
    first = await past.history.forward(ALL, Range(), 100)
    assert (first.gap, [o for _, o in places(first.records)]) == (None, [0, 1, 2, 3])
    second = await past.history.forward(ALL, Range(after=Position.parse(first.next)), 100)
    assert second.gap == Gap("e:0=3", "e:0=7", "lost")
    assert [o for _, o in places(second.records)] == list(range(8, 20))
    assert second.next == second.watermark
    parts = [part async for part in past.history.stream(ALL, Range(), None)]
    assert [part for part in parts if isinstance(part, Gap)] == [second.gap]
    assert parts[-1] == "e:0=19"
    back = await past.history.backward(ALL, Range(), 100)
    assert (back.gap, [o for _, o in places(back.records)]) == (None, list(range(19, 7, -1)))
    assert (back.next, back.previous) == ("e:0=19", "e:0=7")
    rest = await past.history.backward(ALL, Range(before=at(7)), 100)
    assert rest.gap == Gap("e:0=7", "e:0=3", "lost")
    assert ([o for _, o in places(rest.records)], rest.previous) == ([3, 2, 1, 0], None)


async def test_going_back_ends_where_nothing_is_held() -> None:
    past = await forgetful(dropped=5)
    page = await past.history.backward(ALL, Range(), 15)
    assert ([o for _, o in places(page.records)], page.previous) == (list(range(19, 4, -1)), None)
    page = await past.history.backward(ALL, Range(before=at(4)), 15)
    assert (page.gap, list(page.records), page.previous) == (None, [], None)
    page = await past.history.backward(ALL, Range(before=at(2)), 15)
    assert (page.gap, list(page.records), page.previous) == (Gap("e:0=2", "e:0=4", "retention"), [], None)


async def test_what_only_postgres_holds_is_unavailable_while_it_is_away() -> None:
    past = await forgetful()
    past.copied.available = False
    for page in (past.history.forward(ALL, Range(after=at(2)), 3), past.history.backward(ALL, Range(before=at(9)), 3)):
        with pytest.raises(HistoryUnavailable):
            await page
    page_ = await past.history.forward(ALL, Range(after=at(past.window.first(0) - 1)), 100)
    assert page_.next == page_.watermark == "e:0=19"
    assert len((await past.history.backward(ALL, Range(), 2)).records) == 2


async def test_a_page_is_bounded_in_bytes_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    past = await forgetful()
    monkeypatch.setattr(event_history, "PAGE_BYTES", 1_000)
    forward = await past.history.forward(ALL, Range(), 1_000)
    back = await past.history.backward(ALL, Range(), 1_000)
    for page in (forward, back):
        sizes = [len(record.value) for record in page.records]
        assert sum(sizes) >= 1_000 > sum(sizes[:-1])
    assert forward.next != forward.watermark
    assert back.previous is not None


async def test_a_page_that_takes_too_long_ends_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    past = await forgetful()
    monkeypatch.setattr(event_history, "PAGE_SECONDS", -1.0)
    after, pages = None, 0
    while True:
        page = await past.history.forward(Wanted(("task:none",)), Range(after=after), 10)
        pages, after = pages + 1, Position.parse(page.next)
        if page.next == page.watermark:
            break
    assert pages > 1
    before, pages = None, 0
    while True:
        page = await past.history.backward(Wanted(("task:none",)), Range(before=before), 10)
        pages += 1
        if page.previous is None:
            break
        before = Position.parse(page.previous)
    assert pages > 1


async def test_a_time_is_found_while_kafka_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dropped between the questions of where it lies would be passed over."""
    past = await forgetful()
    at_first = past.records[18].appended_at
    ask = past.log.offsets_at

    async def forget(ms: int) -> Mapping[int, int | None]:
        found = await ask(ms)
        past.log.drop_below(0, 19)
        return found

    monkeypatch.setattr(past.log, "offsets_at", forget)
    assert (await past.history.since(at_first - 5_000)).offsets == {0: 12}
