"""The port `History`, for those who read the past: pages of some types, pages back, and where a time lies."""

from collections.abc import Mapping, Sequence
from random import Random

import pytest

from service.adapters.postgres.history import PostgresHistory
from service.domain.errors import HistoryUnavailable
from service.domain.records import Record, Unusable, unusable
from tests.contract.conftest import HistoryUnderTest
from tests.contract.test_history import CHANNELS, expected, fill, read_all
from tests.raw import UNUSABLE_VALUE, task_event, unusable_headers

TYPES = ("task_output", "project_updated", "user_notification", "build_step", "task_failed")


async def ends_of(copied: HistoryUnderTest) -> dict[int, int]:
    return {p: held.next - 1 for p, held in (await copied.history.coverage()).items()}


async def read_back(
    copied: HistoryUnderTest,
    channels: Sequence[str],
    upto: Mapping[int, int],
    down_to: Mapping[int, int],
    limit: int,
    types: Sequence[str] = (),
) -> list[Record]:
    """Page by page until everything is served, holding each page to the contract."""
    found: list[Record] = []
    upper = dict(upto)
    while any(upper[p] >= down_to[p] for p in upper):
        page = await copied.history.page_back(channels, upper, down_to, limit, types)
        places = [(record.partition, -record.offset) for record in page.records]
        assert places == sorted(set(places))
        assert all(sum(place[0] == p for place in places) <= limit for p in upper)
        assert any(page.served[p] <= upper[p] for p in upper), "each page gets further down"
        for record in page.records:
            assert down_to[record.partition] <= page.served[record.partition] <= record.offset
            assert record.offset <= upper[record.partition]
        found += page.records
        upper = {p: min(upper[p], served - 1) for p, served in page.served.items()}
    return sorted(found, key=lambda record: (record.partition, record.offset))


@pytest.mark.parametrize("limit", [1, 3, 1_000])
async def test_pages_say_where_records_lie_that_cant_be_used(copied: HistoryUnderTest, limit: int) -> None:
    """Those with a bad value, those of nobody knows whom, and those that Postgres refuses, among good ones."""
    kinds = Random(limit)
    expected_: list[tuple[int, int, bool]] = []
    for number in range(40):
        partition = number % 2
        kind = kinds.choice(["event", "bad", "nobody's", "refused", "another's"])
        at = copied.log._partitions[partition].next
        if kind in ("event", "refused"):
            copied.add(
                task_event("t1", id=f"{kind}{number}", type_="task_output" if kind == "event" else "refused"), partition
            )
        elif kind == "nobody's":
            copied.log.append_raw(partition, UNUSABLE_VALUE)
        else:
            channels = ["task:t1", "user:u1"] if kind == "bad" else ["task:t7"]
            copied.log.append_raw(partition, UNUSABLE_VALUE, unusable_headers(channels))
        if kind in ("event", "bad", "refused"):
            expected_.append((partition, at, kind == "event"))
    await copied.refuse("refused")
    await copied.project()
    ends = await ends_of(copied)
    found = await read_all(copied, ["task:t1"], dict.fromkeys(ends, -1), ends, limit)
    assert [(r.partition, r.offset, type(r) is Record) for r in found] == sorted(expected_)
    bad = next(record for record in found if record.channels == ("task:t1", "user:u1"))
    assert bad == unusable(bad.partition, bad.offset, bad.appended_at, ("task:t1", "user:u1"))
    assert await read_back(copied, ["task:t1"], ends, dict.fromkeys(ends, 0), limit) == found
    # Of what type they were nobody knows, so they are never left out.
    missing = [record for record in found if isinstance(record, Unusable)]
    assert await read_back(copied, ["task:t1"], ends, dict.fromkeys(ends, 0), limit, ["task_failed"]) == missing
    page = await copied.history.page(["task:t1"], dict.fromkeys(ends, -1), ends, 1_000, ["task_failed"])
    assert (page.records, page.served) == (missing, ends)


@pytest.mark.parametrize("limit", [1, 7, 1_000])
async def test_pages_back_hold_exactly_what_the_log_holds(copied: HistoryUnderTest, limit: int) -> None:
    await fill(copied, 80 if limit == 1 else 400, 11)
    ends = await ends_of(copied)
    random = Random(limit)
    for number in range(3 if limit == 1 else 8):
        channels = random.sample(CHANNELS, random.randrange(1, 5))
        down_to = {p: random.randrange(0, end + 1) for p, end in ends.items()}
        upto = {p: random.randrange(down_to[p] - 1, end + 1) for p, end in ends.items()}
        types = random.sample(TYPES, 2) if number % 2 else ()
        found = await read_back(copied, channels, upto, down_to, limit, types)
        all_ = expected(copied, channels, {p: lowest - 1 for p, lowest in down_to.items()}, upto)
        assert found == [record for record in all_ if not types or record.type in types]


@pytest.mark.parametrize("limit", [1, 7, 1_000])
async def test_pages_of_some_types_hold_exactly_those(copied: HistoryUnderTest, limit: int) -> None:
    await fill(copied, 80 if limit == 1 else 400, 12)
    ends = await ends_of(copied)
    random = Random(limit)
    for _ in range(3 if limit == 1 else 8):
        channels = random.sample(CHANNELS, random.randrange(1, 5))
        types = random.sample(TYPES, random.randrange(1, 4))
        after = {p: random.randrange(-1, end + 1) for p, end in ends.items()}
        found: list[Record] = []
        cursor = dict(after)
        while any(cursor[p] < ends[p] for p in ends):
            page = await copied.history.page(channels, cursor, ends, limit, types)
            assert len(page.records) <= limit
            assert any(page.served[p] > cursor[p] for p in ends), "each page gets further"
            found += page.records
            cursor = dict(page.served)
        found.sort(key=lambda record: (record.partition, record.offset))
        assert found == [record for record in expected(copied, channels, after, ends) if record.type in types]


async def test_a_rare_type_is_found_behind_many_others(copied: HistoryUnderTest) -> None:
    if isinstance(copied.history, PostgresHistory):
        copied.history.looked_at = 10
    for number in range(35):
        copied.add(task_event(type_="task_failed" if number == 17 else "task_output"), number % 2)
    await copied.project()
    ends = await ends_of(copied)
    cursor = dict.fromkeys(ends, -1)
    found: list[Record] = []
    for _ in range(10):
        page = await copied.history.page(["task:t"], cursor, ends, 5, ["task_failed"])
        found += page.records
        cursor = dict(page.served)
    assert [(r.partition, r.offset) for r in found] == [(1, 8)]
    assert cursor == ends
    back = await read_back(copied, ["task:t"], ends, dict.fromkeys(ends, 0), 5, ["task_failed"])
    assert [(r.partition, r.offset) for r in back] == [(1, 8)]


async def test_an_event_of_two_channels_comes_back_once(copied: HistoryUnderTest) -> None:
    for number in range(10):
        copied.add(task_event(task="t", project_id="p", user_id="u", data={"n": number}), 1)
    await copied.project()
    for limit in (1, 2, 3, 50):
        for types in ((), ("task_output",)):
            found = await read_back(copied, ["task:t", "project:p", "user:u"], {1: 9}, {1: 0}, limit, types)
            assert [record.offset for record in found] == list(range(10))


async def test_what_was_dropped_or_not_copied_is_not_claimed(copied: HistoryUnderTest) -> None:
    for _ in range(20):
        copied.add(task_event(), 0)
    await copied.project()
    await copied.next_day()
    for _ in range(10):
        copied.add(task_event(), 0)
    await copied.project({0: 25})
    await copied.drop_days()
    assert len(await read_back(copied, ["task:t"], {0: 24}, {0: 20}, 3)) == 5
    for upto, down_to in ((24, 10), (19, 10), (29, 20)):
        with pytest.raises(HistoryUnavailable):
            await read_back(copied, ["task:t"], {0: upto}, {0: down_to}, 3)


async def test_a_time_lies_at_the_first_record_that_reached_it(copied: HistoryUnderTest) -> None:
    now = 1_000_000_000
    copied.log._now_ms = lambda: now
    # The broker's clock goes back in between: the running maximum is what counts.
    for day, time in enumerate((100, 300, 200, 400, 500)):
        now = 86_400_000 * 20_000 + time
        copied.add(task_event(), 0)
        if day == 1:
            await copied.project()
            await copied.next_day()
    now += 1_000
    copied.add(task_event(), 2)
    await copied.project()
    base = 86_400_000 * 20_000
    for time, offset in ((0, 0), (100, 0), (101, 1), (201, 1), (300, 1), (301, 3), (500, 4)):
        assert await copied.history.offsets_at(base + time) == {0: offset, 2: 0}, time
        assert {p: o for p, o in (await copied.log.offsets_at(base + time)).items() if o is not None} == {
            0: offset,
            2: 0,
        }
    assert await copied.history.offsets_at(base + 501) == {2: 0}
    assert await copied.history.offsets_at(base + 100_000) == {}


async def test_a_time_may_lie_at_a_record_that_cant_be_used(copied: HistoryUnderTest) -> None:
    """Else who begins there would not be told of it."""
    now = 0
    copied.log._now_ms = lambda: now
    for time in (100, 300, 400):
        now = 86_400_000 * 20_000 + time
        if time == 300:
            copied.log.append_raw(0, UNUSABLE_VALUE, unusable_headers(("task:t",)))
        else:
            copied.add(task_event(), 0)
    await copied.project()
    base = 86_400_000 * 20_000
    for time, offset in ((100, 0), (101, 1), (300, 1), (301, 2)):
        assert await copied.history.offsets_at(base + time) == {0: offset}, time


async def test_a_time_is_found_among_many_though_clocks_are_set_back(copied: HistoryUnderTest) -> None:
    random = Random(7)
    clock = now = 86_400_000 * 20_000
    copied.log._now_ms = lambda: now
    times: dict[int, list[tuple[int, int]]] = {}
    for number in range(400):
        clock += random.choice([0, 1, 1_000, 600_000])
        now = clock - random.choice([0, 0, 1_000, 50 * 60_000])
        partition = random.randrange(3)
        times.setdefault(partition, []).append((copied.add(task_event(), partition), now))
        if number in (150, 300):
            await copied.project()
            await copied.next_day()
    await copied.project()
    for _ in range(40):
        partition = random.choice(list(times))
        asked = random.choice(times[partition])[1] + random.choice([-1, 0, 1])
        firsts = {p: next((offset for offset, time in found if time >= asked), None) for p, found in times.items()}
        expected = {p: offset for p, offset in firsts.items() if offset is not None}
        assert await copied.history.offsets_at(asked) == expected
