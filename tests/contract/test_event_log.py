"""The port `EventLog`: what the twin and Kafka promise alike."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing

import pytest
from lastseen.envelope import MAX_EVENT_BYTES
from lastseen.record import NewRecord, encode

from service.adapters.kafka.readers import RANGE_READERS
from service.domain.errors import OffsetsGone
from service.domain.records import RawRecord, read_record
from service.ports import EventLog, TailReader
from tests.contract.conftest import PARTITIONS, LogUnderTest
from tests.events import records_of, task_events
from tests.raw import task_event


async def read_range(log: EventLog, partition: int, start: int, stop: int) -> tuple[list[RawRecord], int]:
    """All records of a range, and how far the read said it had come."""
    records: list[RawRecord] = []
    reached = start
    async with aclosing(log.read(partition, start, stop)) as batches:
        async for batch in batches:
            records += batch.records
            assert reached < batch.next[partition] <= stop
            reached = batch.next[partition]
            assert all(record.offset < reached for record in records)
    return records, reached


async def read_tail(tail: TailReader, until: Mapping[int, int]) -> tuple[list[RawRecord], dict[int, int]]:
    """What a tail gives until it has come to `until`."""
    records: list[RawRecord] = []
    reached: dict[int, int] = {}
    async with asyncio.timeout(20):
        while any(reached.get(partition, 0) < offset for partition, offset in until.items()):
            batch = await tail.read()
            assert batch.next, "a read that gives nothing"
            records += batch.records
            reached |= batch.next
            assert all(record.offset < reached[record.partition] for record in batch.records)
    return records, reached


def offsets(records: list[RawRecord], partition: int) -> list[int]:
    return [record.offset for record in records if record.partition == partition]


async def test_an_empty_log_begins_at_zero(under_test: LogUnderTest) -> None:
    assert await under_test.log.bounds() == dict.fromkeys(range(PARTITIONS), (0, 0))


async def test_appended_records_are_where_append_says(under_test: LogUnderTest) -> None:
    log = under_test.log
    records = records_of(task_events(300))
    places = await log.append(records)
    bounds = await log.bounds()
    found = {}
    for partition, (first, next_) in bounds.items():
        for raw in (await read_range(log, partition, first, next_))[0]:
            found[raw.partition, raw.offset] = raw
    assert len(found) == len(places) == 300
    for record, place in zip(records, places, strict=True):
        raw = found[place]
        assert (raw.key, raw.value, tuple(raw.headers)) == record
        assert place.partition == log.partition_of(record.key)
        assert read_record(raw).appended_at == raw.timestamp


async def test_append_keeps_the_order_of_each_key(under_test: LogUnderTest) -> None:
    records = records_of(task_events(2_000))
    places = await under_test.log.append(records)
    by_key: dict[bytes, list[int]] = {}
    for record, place in zip(records, places, strict=True):
        by_key.setdefault(record.key, []).append(place.offset)
    assert all(found == sorted(found) for found in by_key.values())
    assert len({place.partition for place in places}) > 1


async def test_many_append_at_once(under_test: LogUnderTest) -> None:
    batches = [records_of(task_events(20)) for _ in range(30)]
    answers = await asyncio.gather(*map(under_test.log.append, batches))
    assert len({place for places in answers for place in places}) == 600
    assert sum(bounds.next for bounds in (await under_test.log.bounds()).values()) == 600


async def test_appending_nothing_is_fine(under_test: LogUnderTest) -> None:
    assert list(await under_test.log.append([])) == []


async def test_the_largest_event_passes(under_test: LogUnderTest) -> None:
    event = task_event(data={"text": "x" * (MAX_EVENT_BYTES - 400)})
    record = encode(event)
    (place,) = await under_test.log.append([record])
    ((raw,), _) = await read_range(under_test.log, place.partition, place.offset, place.offset + 1)
    assert raw.value == record.value


async def test_keys_go_where_kafkas_own_clients_send_them(under_test: LogUnderTest) -> None:
    # From Kafka's DefaultPartitioner: toPositive(murmur2(key)) % 4 of the hashes that its own tests name.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, hash_ in hashes.items():
        assert under_test.log.partition_of(key) == (hash_ & 0x7FFFFFFF) % PARTITIONS


async def test_a_range_is_half_open_and_may_be_any_part(under_test: LogUnderTest) -> None:
    log = under_test.log
    places = await log.append([NewRecord(b"k", b"%d" % n, ()) for n in range(1_200)])
    partition = places[0].partition
    for start, stop in ((0, 1_200), (0, 1), (1_199, 1_200), (300, 900), (5, 5), (9, 3)):
        records, reached = await read_range(log, partition, start, stop)
        assert offsets(records, partition) == list(range(start, stop))
        assert reached == max(start, stop) if start < stop else start


async def test_a_range_read_that_is_left_early_hinders_nobody(under_test: LogUnderTest) -> None:
    log = under_test.log
    places = await log.append([NewRecord(b"k", b"%d" % n, ()) for n in range(50)])
    for _ in range(20):
        async with aclosing(log.read(places[0].partition, 0, 50)) as batches:
            async for _batch in batches:
                break
    records, _ = await read_range(log, places[0].partition, 0, 50)
    assert len(records) == 50


async def test_ranges_are_read_side_by_side(under_test: LogUnderTest) -> None:
    log = under_test.log
    await log.append(records_of(task_events(400)))
    bounds = await log.bounds()
    wanted = [(partition, first, next_) for partition, (first, next_) in bounds.items()] * 5
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(read_range(log, *range_) for range_ in wanted))
    assert sum(len(records) for records, _ in answers) == 2_000


async def test_ranges_that_were_begun_and_wait_hinder_nobody(under_test: LogUnderTest) -> None:
    log = under_test.log
    places = await log.append([NewRecord(b"k", b"%d" % n + b"x" * 2_000, ()) for n in range(1_200)])
    partition = places[0].partition
    async with AsyncExitStack() as stack:
        waiting = []
        for start in range(RANGE_READERS + 3):
            batches = await stack.enter_async_context(aclosing(log.read(partition, start, 1_200)))
            first = await anext(batches)
            assert first.next[partition] < 1_200, "it has more to come"
            waiting.append((start, first.records, batches))
        async with asyncio.timeout(20):
            records, _ = await read_range(log, partition, 0, 1_200)
            assert offsets(records, partition) == list(range(1_200))
            # Those that waited go on where they were, by turns.
            for start, begun, batches in waiting:
                rest = [record async for batch in batches for record in batch.records]
                assert offsets([*begun, *rest], partition) == list(range(start, 1_200))


async def test_a_range_ends_though_its_last_offsets_hold_no_record(under_test: LogUnderTest) -> None:
    log = under_test.log
    await under_test.append_raw(1, b"one", [])
    await under_test.pass_without_record(1)
    next_ = (await log.bounds())[1].next
    assert next_ > 1
    records, reached = await read_range(log, 1, 0, next_)
    assert (offsets(records, 1), reached) == ([0], next_)
    await under_test.append_raw(1, b"two", [])
    records, reached = await read_range(log, 1, 1, next_ + 1)
    assert (offsets(records, 1), reached) == ([next_], next_ + 1)


async def test_a_tail_reads_from_its_start_and_then_what_comes(under_test: LogUnderTest) -> None:
    log = under_test.log
    await log.append(records_of(task_events(200)))
    bounds = await log.bounds()
    start = {partition: next_ // 2 for partition, (_, next_) in bounds.items()}
    async with log.tail(start) as tail:
        records, _ = await read_tail(tail, {p: b.next for p, b in bounds.items()})
        for partition, (_, next_) in bounds.items():
            assert offsets(records, partition) == list(range(start[partition], next_))
        waiting = asyncio.create_task(tail.read())
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done, "nothing has come, so it waits"
        (place,) = await log.append(records_of([task_event()]))
        batch = await asyncio.wait_for(waiting, 10)
        assert [(raw.partition, raw.offset) for raw in batch.records] == [place]
        assert batch.next == {place.partition: place.offset + 1}


async def test_each_tail_sees_everything(under_test: LogUnderTest) -> None:
    log = under_test.log
    start = dict.fromkeys(range(PARTITIONS), 0)
    async with log.tail(start) as one, log.tail(start) as other:
        await log.append(records_of(task_events(100)))
        ends = {partition: bounds.next for partition, bounds in (await log.bounds()).items()}
        for tail in (one, other):
            assert len((await read_tail(tail, ends))[0]) == 100


async def test_a_tail_passes_offsets_that_hold_no_record(under_test: LogUnderTest) -> None:
    log = under_test.log
    async with log.tail(dict.fromkeys(range(PARTITIONS), 0)) as tail:
        await under_test.pass_without_record(2)
        next_ = (await log.bounds())[2].next
        assert next_ > 0
        records, reached = await read_tail(tail, {2: next_})
        assert (records, reached[2]) == ([], next_)


async def test_retention_moves_the_first_offset(under_test: LogUnderTest) -> None:
    log = under_test.log
    places = await log.append([NewRecord(b"k", b"%d" % n, ()) for n in range(20)])
    partition = places[0].partition
    await under_test.drop_below(partition, 15)
    assert (await log.bounds())[partition] == (15, 20)
    records, _ = await read_range(log, partition, 15, 20)
    assert offsets(records, partition) == [15, 16, 17, 18, 19]


async def test_offsets_that_are_gone_or_never_were_are_refused(under_test: LogUnderTest) -> None:
    log = under_test.log
    places = await log.append([NewRecord(b"k", b"%d" % n, ()) for n in range(20)])
    partition = places[0].partition
    await under_test.drop_below(partition, 15)
    starts = {p: bounds.first for p, bounds in (await log.bounds()).items()}
    with pytest.raises(OffsetsGone):
        await read_range(log, partition, 3, 20)
    for wrong in (3, 21):
        with pytest.raises(OffsetsGone, match=r"\[15, 20\)"):
            async with log.tail(starts | {partition: wrong}):
                pass
    # The log is none the worse for it.
    assert len((await read_range(log, partition, 15, 20))[0]) == 5


async def test_a_tail_that_retention_overtakes_says_so(under_test: LogUnderTest) -> None:
    log = under_test.log
    places = await log.append([NewRecord(b"k", b"x" * 1_000, ()) for _ in range(100)])
    partition = places[0].partition
    async with log.tail(dict.fromkeys(range(PARTITIONS), 0)) as tail:
        await read_tail(tail, {partition: 100})
        # Nothing is read while what comes is cut off again.
        await log.append([NewRecord(b"k", b"x" * 1_000, ()) for _ in range(5_000)])
        await under_test.drop_below(partition, 5_100)
        with pytest.raises(OffsetsGone):
            await read_until_gone(tail, partition)


async def read_until_gone(tail: TailReader, partition: int) -> None:
    """Read what was fetched before it was cut off, all of it in order, and then what comes next."""
    last = 99
    async with asyncio.timeout(30):
        while True:
            for record in (await tail.read()).records:
                assert (record.partition, record.offset) == (partition, last + 1)
                last = record.offset


async def test_a_time_lies_at_the_first_record_that_was_appended_then(under_test: LogUnderTest) -> None:
    log = under_test.log
    await log.append([encode(task_event("t", data={"n": n})) for n in range(5)])
    partition = log.partition_of(b"t")
    records, _ = await read_range(log, partition, 0, 5)
    for record in records:
        first = next(one.offset for one in records if one.timestamp >= record.timestamp)
        assert (await log.offsets_at(record.timestamp))[partition] == first
    assert await log.offsets_at(0) == {**dict.fromkeys(range(PARTITIONS)), partition: 0}
    assert await log.offsets_at(records[-1].timestamp + 1) == dict.fromkeys(range(PARTITIONS))
    await under_test.drop_below(partition, 3)
    assert (await log.offsets_at(0))[partition] == 3
