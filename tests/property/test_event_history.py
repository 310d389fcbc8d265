"""Pages of the past, whatever moves meanwhile: each event once, in order, and both ways the same."""

from itertools import pairwise

import pytest
from lastseen.positions import Position

from service.domain.records import Record
from service.node.event_history import Gap
from service.node.past import Range, Wanted
from tests.contract.test_history import CHANNELS
from tests.pasts import Past, places

TYPES = ("task_output", "project_updated", "user_notification", "build_step")


def some(past: Past) -> Wanted:
    channels = tuple(past.random.sample(CHANNELS, past.random.randrange(1, 4)))
    return Wanted(channels, frozenset(past.random.sample(TYPES, past.random.choice([0, 0, 1, 2]))))


def by_partition(records: list[Record]) -> list[tuple[int, int]]:
    return sorted(places(records))


@pytest.mark.parametrize("seed", range(25))
async def test_forward_pages_give_each_event_once(seed: int) -> None:
    past = Past(seed, window_bytes=past_bytes(seed))
    past.fill(150)
    if seed % 3 == 0:
        await past.copied.project()
    wanted, limit = some(past), past.random.choice([1, 3, 20, 1_000])
    found: list[Record] = []
    after: Position | None = None
    for page_number in range(2_000):
        await past.move()
        if page_number < 10:
            past.fill(past.random.randrange(10))
        page = await past.history.forward(wanted, Range(after=after), limit)
        assert page.gap is None
        assert len(page.records) <= limit
        found += page.records
        after = Position.parse(page.next)
        if page.next == page.watermark:
            break
    else:
        raise AssertionError("the pages do not end")
    expected = past.of(wanted.channels, wanted.types)
    assert by_partition(found) == by_partition(expected)
    for partition in range(3):
        offsets = [record.offset for record in found if record.partition == partition]
        assert offsets == sorted(offsets)
    # From the end of all pages back to the beginning.
    assert after is not None
    await check_backward(past, wanted, after, expected)


def past_bytes(seed: int) -> int:
    return (0, 3_000, 20_000, 10_000_000)[seed % 4]


async def check_backward(past: Past, wanted: Wanted, before: Position, expected: list[Record]) -> None:
    limit = past.random.choice([1, 4, 30, 1_000])
    found: list[Record] = []
    at: Position | None = before
    for _ in range(2_000):
        await past.move()
        page = await past.history.backward(wanted, Range(before=at), limit)
        assert page.gap is None
        assert len(page.records) <= limit
        found += page.records
        if page.previous is None:
            break
        at = Position.parse(page.previous)
    else:
        raise AssertionError("the pages do not end")
    assert by_partition(found) == by_partition(expected)
    for one, next_ in pairwise(found):
        if one.partition == next_.partition:
            assert one.offset > next_.offset
    # Merged by time: nobody waits behind an older one of another partition, if its own newer ones are out.
    heads = {p: [r for r in found if r.partition == p] for p in range(3)}
    for record in found:
        assert (record.appended_at, record.partition) == max(
            (ahead[0].appended_at, ahead[0].partition) for ahead in heads.values() if ahead
        )
        heads[record.partition].pop(0)


@pytest.mark.parametrize("seed", range(10))
async def test_a_position_parts_the_past_in_two(seed: int) -> None:
    past = Past(seed, window_bytes=past_bytes(seed))
    past.fill(120)
    await past.copied.project()
    wanted = some(past)
    middle = Position("e", {p: past.random.randrange(-1, held.next) for p, held in (await past.log.bounds()).items()})
    newer = await past.history.forward(wanted, Range(after=middle), 1_000)
    older = await past.history.backward(wanted, Range(before=middle), 1_000)
    same = await past.history.forward(wanted, Range(before=middle), 1_000)
    assert by_partition(list(older.records)) == by_partition(list(same.records))
    assert by_partition([*newer.records, *older.records]) == by_partition(past.of(wanted.channels, wanted.types))
    assert older.previous is None
    assert (newer.previous, older.next) == (middle.token if max(middle.offsets.values()) >= 0 else None, middle.token)
    assert same.next == same.watermark == middle.token


@pytest.mark.parametrize("seed", range(12))
async def test_times_part_the_past_too(seed: int) -> None:
    past = Past(seed, window_bytes=past_bytes(seed))
    begin = past.now
    past.fill(120, twice=0)
    await past.copied.project()
    if seed % 2:
        for partition, held in (await past.copied.coverage()).items():
            past.log.drop_below(partition, past.random.randrange(held.next + 1))
    wanted = some(past)
    records = past.of(wanted.channels, wanted.types)
    reached = {
        place: max(r.appended_at for r in past.records if r.partition == place[0] and r.offset <= place[1])
        for place in places(records)
    }
    times = sorted(past.random.randrange(begin - 10, past.now + 10) for _ in range(4))
    ends: list[int | None] = [None, *times, None]
    for since, until in pairwise(ends):
        expected = sorted(
            place
            for place, time in reached.items()
            if (since is None or time >= since) and (until is None or time < until)
        )
        page = await past.history.forward(wanted, Range(since_ms=since, until_ms=until), 1_000)
        back = await past.history.backward(wanted, Range(since_ms=since, until_ms=until), 1_000)
        assert by_partition(list(page.records)) == by_partition(list(back.records)) == expected
        assert page.next == page.watermark
        assert (page.gap, back.gap) == (None, None)


@pytest.mark.parametrize("seed", range(6))
async def test_a_stream_is_all_pages_at_once(seed: int) -> None:
    past = Past(seed, window_bytes=past_bytes(seed))
    past.fill(150)
    await past.move()
    wanted = some(past)
    found: list[Record] = []
    last = None
    async for part in past.history.stream(wanted, Range(), None):
        assert last is None, "the watermark comes last"
        assert not isinstance(part, Gap)
        if isinstance(part, str):
            last = part
        else:
            found += part
    assert last == past.head.token
    assert by_partition(found) == by_partition(past.of(wanted.channels, wanted.types))
    first = [part async for part in past.history.stream(wanted, Range(), 3)]
    assert isinstance(first[-1], str)
    rest = await past.history.forward(wanted, Range(after=Position.parse(first[-1])), 1_000)
    begun = [record for part in first[:-1] if not isinstance(part, Gap | str) for record in part]
    assert len(begun) == min(3, len(found))
    assert by_partition([*begun, *rest.records]) == by_partition(found)


@pytest.mark.parametrize("seed", range(12))
async def test_the_last_lie_behind_their_position(seed: int) -> None:
    past = Past(seed, window_bytes=past_bytes(seed))
    past.fill(120)
    await past.move()
    wanted = some(past)
    newest = (await past.history.backward(wanted, Range(), 1_000)).records
    for count in (1, 5, 40, 1_000):
        position = await past.history.last(wanted, count)
        page = await past.history.forward(wanted, Range(after=position), 1_000)
        assert page.gap is None
        assert by_partition(list(page.records)) == by_partition(list(newest[:count]))
        begun = await past.history.forward(wanted, Range(last=count), 1_000)
        assert (begun.records, begun.next, begun.gap) == (page.records, page.next, None)
        assert begun.previous is not None or len(newest) <= count
    time = past.random.choice(past.records).appended_at
    page = await past.history.forward(wanted, Range(since_ms=time), 1_000)
    after = await past.history.forward(wanted, Range(after=await past.history.since(time)), 1_000)
    assert (after.records, after.gap) == (page.records, None)


@pytest.mark.parametrize("seed", range(15))
async def test_what_cant_be_used_is_told_where_it_lies(seed: int) -> None:
    past = Past(seed, window_bytes=past_bytes(seed))
    for _ in range(30):
        past.fill(past.random.randrange(6))
        for _ in range(past.random.choice([0, 0, 1, 1, 3])):
            past.add_unusable(past.random.randrange(3), [past.random.choice(["task:t1", "task:t2"]), "project:p0"])
    await past.copied.project()
    wanted = Wanted(("task:t1",), frozenset(past.random.sample(TYPES, past.random.choice([0, 2]))))
    expected = by_partition(past.of(wanted.channels, wanted.types))
    missing = [(r.partition, r.offset) for r in past.missing if "task:t1" in r.channels]
    limit = past.random.choice([1, 2, 20, 1_000])

    found: list[Record] = []
    gaps: list[Gap] = []
    after, before = None, None
    while True:
        await past.move()
        page = await past.history.forward(wanted, Range(after=after), limit)
        found += page.records
        gaps += [page.gap] if page.gap is not None else []
        after = Position.parse(page.next)
        if page.next == page.watermark:
            break
    check_gaps(gaps, expected, missing)
    assert by_partition(found) == expected

    back: list[Record] = []
    gaps = []
    while True:
        await past.move()
        page = await past.history.backward(wanted, Range(before=before), limit)
        back += page.records
        # In the direction of reading: from the newer place to the older one.
        gaps += [Gap(page.gap.earliest, page.gap.requested, page.gap.reason)] if page.gap is not None else []
        if page.previous is None:
            break
        before = Position.parse(page.previous)
    check_gaps(gaps, expected, missing)
    assert by_partition(back) == expected

    parts = [part async for part in past.history.stream(wanted, Range(), None)]
    check_gaps([part for part in parts if isinstance(part, Gap)], expected, missing)
    lines = [record for part in parts if not isinstance(part, Gap | str) for record in part]
    assert by_partition(lines) == expected
    count = past.random.randrange(1, 9)
    last = await past.history.last(wanted, count)
    behind = [place for place in expected if place[1] > last.offsets[place[0]]]
    assert len(behind) == min(count, len(expected))


def check_gaps(gaps: list[Gap], events: list[tuple[int, int]], missing: list[tuple[int, int]]) -> None:
    """Each missing place lies in one gap, each gap holds one, and no event lies in any."""
    spans = [(Position.parse(gap.requested).offsets, Position.parse(gap.earliest).offsets) for gap in gaps]
    assert all(gap.reason == "quarantine" for gap in gaps)

    def within(place: tuple[int, int]) -> int:
        partition, offset = place
        return sum(low[partition] < offset <= high[partition] for low, high in spans)

    assert [within(place) for place in missing] == [1] * len(missing)
    assert not any(within(place) for place in events)
    assert all(any(low[p] < offset <= high[p] for p, offset in missing) for low, high in spans)
