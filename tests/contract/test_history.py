"""The port `History`: what the twin and Postgres promise alike."""

from collections.abc import Sequence
from random import Random

import pytest
from lastseen.envelope import Event

from service.domain.duplicates import LookBack, Seen
from service.domain.errors import HistoryUnavailable
from service.domain.records import Record, read_record
from service.ports import Coverage
from tests.contract.conftest import LOOK_BACK, PARTITIONS, HistoryUnderTest
from tests.events import task_events
from tests.raw import task_event

CHANNELS = ("task:t1", "task:t7", "project:p0", "project:p3", "user:u1", "system", "broadcast", "task:none")


async def read_all(
    copied: HistoryUnderTest, channels: Sequence[str], after: dict[int, int], upto: dict[int, int], limit: int
) -> list[Record]:
    """Page by page until `served` has reached `upto`, holding each page to the contract."""
    found: list[Record] = []
    cursor = dict(after)
    while any(cursor[partition] < upto[partition] for partition in upto):
        page = await copied.history.page(channels, cursor, upto, limit)
        assert page.served.keys() == upto.keys()
        places = [(record.partition, record.offset) for record in page.records]
        assert places == sorted(set(places))
        assert len(places) <= limit
        assert all(page.served[p] >= cursor[p] for p in upto), "served never goes back"
        assert any(page.served[p] > cursor[p] for p in upto), "each page gets further"
        for partition, offset in places:
            assert cursor[partition] < offset <= page.served[partition] <= max(upto[partition], cursor[partition])
        found += page.records
        cursor |= page.served
    return sorted(found, key=lambda record: (record.partition, record.offset))


def expected(
    copied: HistoryUnderTest, channels: Sequence[str], after: dict[int, int], upto: dict[int, int]
) -> list[Record]:
    """The same by reading the whole log the plain way."""
    found: list[Record] = []
    for partition in sorted(upto):
        look_back = LookBack(copied.look_back)
        for raw in copied.log._partitions[partition].records:
            record = read_record(raw)
            wanted = after[partition] < record.offset <= upto[partition]
            if look_back.judge(record) is None and wanted and set(channels) & set(record.channels):
                found.append(record)
    return found


async def fill(copied: HistoryUnderTest, count: int, seed: int) -> None:
    """Events of all kinds, some of them twice, over three days, with offsets that hold nothing."""
    random = Random(seed)
    events = task_events(count, random=random)
    for number, event in enumerate(events):
        partition = _partition_of(event)
        copied.add(event, partition)
        if random.random() < 0.05:
            copied.add(event, partition)
        if random.random() < 0.02:
            copied.log.skip(partition, random.randrange(1, 4))
        if number in (count // 3, count // 2):
            await copied.project()
            await copied.next_day()
    await copied.project()


def _partition_of(event: Event) -> int:
    return sum(event.key.encode()) % PARTITIONS


@pytest.mark.parametrize("limit", [1, 7, 1_000])
@pytest.mark.parametrize("seed", [1, 2])
async def test_pages_hold_exactly_what_the_log_holds(copied: HistoryUnderTest, seed: int, limit: int) -> None:
    await fill(copied, 150 if limit == 1 else 600, seed)
    ends = {p: coverage.next for p, coverage in (await copied.history.coverage()).items()}
    assert ends == {p: bounds.next for p, bounds in (await copied.log.bounds()).items()}
    random = Random(seed)
    for _ in range(4 if limit == 1 else 12):
        channels = random.sample(CHANNELS, random.randrange(1, 5))
        after = {p: random.randrange(-1, end) for p, end in ends.items()}
        upto = {p: random.randrange(after[p], end) for p, end in ends.items()}
        found = await read_all(copied, channels, after, upto, limit)
        assert found == expected(copied, channels, after, upto)


async def test_a_record_comes_back_as_it_was_read(copied: HistoryUnderTest) -> None:
    events = [
        *task_events(40, random=Random(5)),
        task_event(ttl=60, project_id="p", user_id="u", data={"text": "é\u2028🎉 \\u0000 quoted"}),
        Event.model_validate({"type": "system_security_alert", "priority": 9}),
    ]
    for event in events:
        copied.add(event, 0)
    await copied.project()
    channels = sorted({channel for event in events for channel in event.channels})
    page = await copied.history.page(channels, {0: -1}, {0: len(events) - 1}, 1_000)
    assert page.records == [read_record(raw) for raw in copied.log._partitions[0].records]


async def test_an_event_of_two_channels_comes_once(copied: HistoryUnderTest) -> None:
    for number in range(10):
        copied.add(task_event(task="t", project_id="p", user_id="u", data={"n": number}), 1)
    await copied.project()
    for limit in (1, 2, 3, 10, 50):
        found = await read_all(copied, ["task:t", "project:p", "user:u", "task:t"], {1: -1}, {1: 9}, limit)
        assert [record.offset for record in found] == list(range(10))


async def test_a_partition_left_out_of_after_begins_at_its_start(copied: HistoryUnderTest) -> None:
    copied.add(task_event(), 2)
    await copied.project()
    page = await copied.history.page(["task:t"], {}, {2: 0}, 10)
    assert (len(page.records), page.served) == (1, {2: 0})


async def test_a_page_serves_no_further_than_was_copied(copied: HistoryUnderTest) -> None:
    for number in range(10):
        copied.add(task_event(data={"n": number}), 0)
    await copied.project({0: 4})
    page = await copied.history.page(["task:t"], {0: -1, 3: -1}, {0: 9, 3: 9}, 100)
    assert [record.offset for record in page.records] == [0, 1, 2, 3]
    assert page.served == {0: 3, 3: -1}
    page = await copied.history.page(["task:t"], page.served, {0: 9, 3: 9}, 100)
    assert (list(page.records), page.served) == ([], {0: 3, 3: -1})
    await copied.project()
    page = await copied.history.page(["task:t"], page.served, {0: 9, 3: 9}, 100)
    assert [record.offset for record in page.records] == [4, 5, 6, 7, 8, 9]


async def test_a_quiet_channel_gets_to_the_end_though_nothing_matches(copied: HistoryUnderTest) -> None:
    await fill(copied, 200, 3)
    ends = {p: coverage.next - 1 for p, coverage in (await copied.history.coverage()).items()}
    page = await copied.history.page(["user:nobody"], dict.fromkeys(ends, -1), ends, 10)
    assert (list(page.records), page.served) == ([], ends)


async def test_coverage_names_only_what_was_copied_and_the_holes(copied: HistoryUnderTest) -> None:
    for partition in (0, 1):
        for number in range(20):
            copied.add(task_event(data={"n": number}), partition)
    await copied.project({0: 5})
    copied.log.drop_below(0, 12)
    copied.log.drop_below(1, 3)
    await copied.project()
    coverage = {p: held for p, held in (await copied.history.coverage()).items() if held.next > 0}
    assert coverage == {0: Coverage(0, 20, ((5, 12),)), 1: Coverage(0, 20, ((0, 3),))}
    found = await read_all(copied, ["task:t"], {0: -1, 1: -1}, {0: 19, 1: 19}, 6)
    assert [(r.partition, r.offset) for r in found] == [
        *((0, n) for n in (*range(5), *range(12, 20))),
        *((1, n) for n in range(3, 20)),
    ]


async def test_a_page_passes_a_hole_at_the_end(copied: HistoryUnderTest) -> None:
    for number in range(10):
        copied.add(task_event(data={"n": number}), 0)
    await copied.project({0: 5})
    copied.log.drop_below(0, 9)
    await copied.project()
    page = await copied.history.page(["task:t"], {0: 4}, {0: 8}, 10)
    assert page.served == {0: 8} or (await copied.history.page(["task:t"], page.served, {0: 8}, 10)).served == {0: 8}


async def test_the_look_back_knows_void_records_too(copied: HistoryUnderTest) -> None:
    end = task_event(task="done", type_="task_completed")
    late = task_event(task="done")
    first = task_event(task="t")
    for event in (first, end, late, first, task_event(task="t")):
        copied.add(event, 3)
    await copied.project()
    seen = await copied.history.look_back(3, 0, 100)
    assert [(one.offset, one.id, one.ended_task) for one in seen] == [
        (0, first.id, None),
        (1, end.id, "done"),
        (2, late.id, None),
        (3, first.id, None),
        (4, seen[4].id, None),
    ]
    assert all(isinstance(one, Seen) for one in seen)
    assert list(await copied.history.look_back(3, 1, 3)) == list(seen)[1:3]
    assert list(await copied.history.look_back(3, -50, 1)) == list(seen)[:1]
    assert list(await copied.history.look_back(0, 0, 100)) == []


async def test_a_look_back_over_several_days(copied: HistoryUnderTest) -> None:
    await fill(copied, 200, 4)
    for partition, (_, next_) in (await copied.log.bounds()).items():
        seen = await copied.history.look_back(partition, 0, next_)
        assert [one.offset for one in seen] == [raw.offset for raw in copied.log._partitions[partition].records]


async def test_a_page_never_claims_what_was_dropped(copied: HistoryUnderTest) -> None:
    await fill(copied, 400, 6)
    before = await copied.history.coverage()
    seen = {p: await copied.history.look_back(p, held.next - LOOK_BACK, held.next) for p, held in before.items()}
    await copied.next_day()
    for number in range(40):
        copied.add(task_event(data={"n": number}), number % PARTITIONS)
    await copied.project()
    await copied.drop_days()
    coverage = await copied.history.coverage()
    ends = {p: held.next - 1 for p, held in coverage.items()}
    assert {p: held.first for p, held in coverage.items()} == {p: held.next for p, held in before.items()}
    for after in (-1, 3):
        for partition, end in ends.items():
            with pytest.raises(HistoryUnavailable, match=f"offset {after} of partition {partition} was dropped"):
                await copied.history.page(CHANNELS, {partition: after}, {partition: end}, 100)
    firsts = {p: held.first - 1 for p, held in coverage.items()}
    channels = ["task:t", *CHANNELS]
    found = await read_all(copied, channels, firsts, ends, 7)
    assert found == expected(copied, channels, firsts, ends)
    assert len(found) == 40
    page = await copied.history.page(channels, {}, ends, 1_000)
    assert (page.records, page.served) == (found, ends), "left out, a partition begins where coverage does"
    # The void rule looks back over days that are gone.
    for partition, held in before.items():
        looked = await copied.history.look_back(partition, held.next - LOOK_BACK + 10, held.next)
        assert list(looked) == [one for one in seen[partition] if one.offset >= held.next - LOOK_BACK + 10]


async def test_where_all_days_were_dropped_nothing_is_claimed(copied: HistoryUnderTest) -> None:
    for number in range(20):
        copied.add(task_event(data={"n": number}), 0)
    await copied.project()
    await copied.next_day()
    await copied.drop_days()
    assert (await copied.history.coverage())[0] == Coverage(20, 20)
    for after in ({0: -1}, {0: 4}, {0: 18}, {}):
        with pytest.raises(HistoryUnavailable, match="was dropped"):
            await copied.history.page(["task:t"], after, {0: 19}, 10)
    assert (await copied.history.page(["task:t"], {0: 19}, {0: 30}, 10)).served == {0: 19}
    copied.add(task_event(), 0)
    await copied.project()
    await copied.drop_days()
    assert (await copied.history.coverage())[0] == Coverage(20, 21)
    assert [r.offset for r in (await copied.history.page(["task:t"], {0: 19}, {0: 20}, 10)).records] == [20]


async def test_a_name_that_is_no_channel_is_refused(copied: HistoryUnderTest) -> None:
    with pytest.raises(ValueError, match="is no channel"):
        await copied.history.page(["weather"], {0: -1}, {0: 0}, 1)
