"""Fetching from brokers that answer as a test says: what leaders that change, errors and broken batches lead to."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.fetch import FetchResponse_v11
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from service.adapters.kafka.fetching import Fetched, Fetching
from tests.waiting import until

TOPIC = "t"
NOT_LEADER, OUT_OF_RANGE, NOT_AUTHORIZED, CORRUPT = 6, 1, 29, 2
NOT_FOUND, WRONG_EPOCH = 70, 71
MUCH = bytes(64 * 1024)
"""A value that is worked on while more is asked for."""


class Cluster:
    """What a client knows of who leads."""

    def __init__(self, leaders: dict[int, int]) -> None:
        self.leaders = leaders
        self.listeners: list[Callable[[Cluster], None]] = []

    def leader_for_partition(self, tp: TopicPartition) -> int | None:
        return self.leaders.get(tp.partition)

    def add_listener(self, listener: Callable[["Cluster"], None]) -> None:
        self.listeners.append(listener)

    def remove_listener(self, listener: Callable[["Cluster"], None]) -> None:
        self.listeners.remove(listener)

    def learn(self, leaders: dict[int, int]) -> None:
        self.leaders = leaders
        for listener in list(self.listeners):
            listener(self)


class Client:
    """A client of brokers whose answers the test gives."""

    def __init__(self, leaders: dict[int, int]) -> None:
        self.cluster = Cluster(leaders)
        self.asked: list[tuple[int, dict[int, int]]] = []
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.updates = 0
        self.sessions: list[tuple[int, int]] = []

    async def send(self, node: int, request: Any) -> Any:
        named = [place for _, partitions in request.topics for place in partitions]
        self.asked.append((node, {partition: offset for partition, offset, _ in named}))
        self.sessions.append((request.session_id, request.session_epoch))
        self.waiting[node] = asyncio.get_running_loop().create_future()
        return await self.waiting[node]

    def force_metadata_update(self) -> None:
        self.updates += 1

    async def answer(self, node: int, *partitions: tuple[int, int, bytes]) -> None:
        """Answer the request that this broker has, or will have: partitions, their errors and records."""
        (await self.asked_of(node)).set_result(response(*partitions))

    async def asked_of(self, node: int) -> asyncio.Future[Any]:
        def is_asked() -> bool:
            return node in self.waiting and not self.waiting[node].done()

        await until(is_asked, timeout=30, what=f"a request to broker {node}")
        return self.waiting[node]


def response(*partitions: tuple[int, int, bytes], error: int = 0, session: int = 0) -> FetchResponse_v11:
    answered = [(partition, code, 0, 0, 0, None, -1, data) for partition, code, data in partitions]
    return FetchResponse_v11(0, error, session, [(TOPIC, answered)])


def batch(first: int, *values: bytes) -> bytes:
    """A batch of records from an offset on."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1_000_000)
    for at, value in enumerate(values):
        builder.append(at, 1_700_000_000_000, None, value, [])
    built = builder.build()
    return first.to_bytes(8, "big") + bytes(built[8:])


def fetching(client: Client, start: dict[int, int]) -> Fetching:
    return Fetching(client, TOPIC, start, 10)


async def read(one: Fetching) -> Fetched:
    found = await one.read(5)
    assert found is not None
    return found


def places(fetched: Fetched) -> Sequence[tuple[int, int, bytes | None]]:
    return [(record.partition, record.offset, record.value) for record in fetched.records]


async def test_each_leader_is_asked_for_what_it_leads_and_then_for_what_follows() -> None:
    client = Client({0: 1, 1: 2, 2: 1})
    async with fetching(client, {0: 5, 1: 0, 2: 7}) as one:
        await client.answer(1, (0, 0, batch(5, b"a", b"b")), (2, 0, b""))
        found = await read(one)
        assert (places(found), found.next) == ([(0, 5, b"a"), (0, 6, b"b")], {0: 7})
        assert await one.read(0.01) is None
        await client.asked_of(1)
        await client.answer(2, (1, 0, batch(0, b"c")))
        assert (await read(one)).next == {1: 1}
        assert await one.read(0.01) is None
        await client.asked_of(2)
    assert client.asked == [(1, {0: 5, 2: 7}), (2, {1: 0}), (1, {2: 7, 0: 7}), (2, {1: 1})]
    assert not client.cluster.listeners


async def test_behind_much_the_next_request_does_not_wait_for_whoever_reads() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 0}) as one:
        await client.answer(1, (0, 0, batch(0, MUCH)))
        await client.answer(1, (0, 0, batch(1, MUCH)))
        await until(
            lambda: client.asked[-1] == (1, {0: 1}) and one._next == {0: 2}, timeout=30, what="two answers read"
        )
        # A third one is not asked for while both wait.
        assert len(client.asked) == 2
        assert [places(await read(one)), places(await read(one))] == [[(0, 0, MUCH)], [(0, 1, MUCH)]]
        await client.asked_of(1)


async def test_what_a_former_leader_still_answers_is_not_taken_twice() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 0}) as one:
        former = await client.asked_of(1)
        client.cluster.learn({0: 2})
        await client.answer(2, (0, 0, batch(0, b"a", b"b")))
        assert places(await read(one)) == [(0, 0, b"a"), (0, 1, b"b")]
        former.set_result(response((0, 0, batch(0, b"a"))))
        assert await one.read(0.01) is None
        await client.answer(2, (0, 0, batch(2, b"c")))
        assert places(await read(one)) == [(0, 2, b"c")]
        assert [node for node, _ in client.asked] == [1, 2, 2]


async def test_a_partition_that_is_led_elsewhere_is_looked_for() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 0}) as one:
        await client.answer(1, (0, NOT_LEADER, b""))
        await until(lambda: client.updates > 0, timeout=30, what="metadata being asked for")
        client.cluster.learn({0: 2})
        await client.answer(2, (0, 0, batch(0, b"a")))
        assert (await read(one)).next == {0: 1}


async def test_a_partition_that_nobody_leads_is_looked_for() -> None:
    client = Client({})
    async with fetching(client, {0: 0}) as one:
        assert await one.read(0.01) is None
        assert client.updates == 1
        client.cluster.learn({0: 1})
        await client.answer(1, (0, 0, batch(0, b"a")))
        assert (await read(one)).next == {0: 1}


@pytest.mark.parametrize("lost", [KafkaConnectionError("gone"), None], ids=["an error", "a future that is cancelled"])
async def test_a_connection_that_is_lost_is_asked_again(lost: Exception | None) -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 0}) as one:
        asked = await client.asked_of(1)
        if lost is None:
            asked.cancel()
        else:
            asked.set_exception(lost)
        await client.answer(1, (0, 0, batch(0, b"a")))
        assert (await read(one)).next == {0: 1}
        assert client.updates == 1


@pytest.mark.parametrize(
    ("code", "error"), [(OUT_OF_RANGE, OffsetOutOfRangeError), (NOT_AUTHORIZED, TopicAuthorizationFailedError)]
)
async def test_an_error_that_does_not_pass_comes_out(code: int, error: type[Exception]) -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 3}) as one:
        await client.answer(1, (0, code, b""))
        with pytest.raises(error):
            await one.read(5)


async def test_an_error_of_the_whole_answer_comes_out() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 3}) as one:
        (await client.asked_of(1)).set_result(response(error=NOT_AUTHORIZED))
        with pytest.raises(TopicAuthorizationFailedError):
            await one.read(5)


async def test_what_lies_before_a_broken_batch_is_had() -> None:
    broken = bytearray(batch(2, b"c"))
    broken[-3] ^= 0xFF
    client = Client({0: 1})
    async with fetching(client, {0: 0}) as one:
        await client.answer(1, (0, 0, batch(0, b"a", b"b") + bytes(broken)))
        found = await read(one)
        assert (places(found), found.next) == ([(0, 0, b"a"), (0, 1, b"b")], {0: 2})
        assert await one.read(0.01) is None
        await client.answer(1, (0, 0, bytes(broken)))
        with pytest.raises(CorruptRecordException):
            await one.read(5)


async def test_records_below_what_was_asked_for_are_passed_over() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 1}) as one:
        await client.answer(1, (0, 0, batch(0, b"a", b"b")))
        assert places(await read(one)) == [(0, 1, b"b")]


async def test_what_comes_without_records_moves_nothing() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 1}) as one:
        await client.answer(1, (0, 0, b""))
        await client.asked_of(1)
        assert await one.read(0.01) is None
        assert client.asked == [(1, {0: 1}), (1, {0: 1})]


async def test_in_a_session_only_what_has_moved_is_named() -> None:
    client = Client({0: 1, 1: 1})
    async with fetching(client, {0: 5, 1: 7}) as one:
        for records in ((0, 0, batch(5, b"a")), (1, 0, batch(7, b"b"))):
            (await client.asked_of(1)).set_result(response(records, session=3))
            await read(one)
            assert await one.read(0.01) is None
        await client.asked_of(1)
    assert client.asked == [(1, {0: 5, 1: 7}), (1, {0: 6}), (1, {1: 8})]
    assert client.sessions == [(0, 0), (3, 1), (3, 2)]


@pytest.mark.parametrize("code", [NOT_FOUND, WRONG_EPOCH])
async def test_a_session_that_is_over_is_begun_anew(code: int) -> None:
    client = Client({0: 1, 1: 1})
    async with fetching(client, {0: 5, 1: 7}) as one:
        (await client.asked_of(1)).set_result(response((0, 0, batch(5, b"a")), session=3))
        await read(one)
        assert await one.read(0.01) is None
        (await client.asked_of(1)).set_result(response(error=code))
        await client.answer(1, (1, 0, batch(7, b"b")))
        assert places(await read(one)) == [(1, 7, b"b")]
    assert client.asked[2] == (1, {1: 7, 0: 6}), "all are named"
    assert client.sessions[2] == (3, 0), "the old one is ended"


async def test_after_a_connection_that_was_lost_a_session_is_begun_anew() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 5}) as one:
        (await client.asked_of(1)).set_result(response(session=3))
        (await client.asked_of(1)).set_exception(KafkaConnectionError("gone"))
        await client.answer(1, (0, 0, batch(5, b"a")))
        assert (await read(one)).next == {0: 6}
    assert client.asked[:3] == [(1, {0: 5}), (1, {}), (1, {0: 5})]
    assert client.sessions[:3] == [(0, 0), (3, 1), (3, 0)]


async def test_a_few_records_are_worked_on_before_more_are_asked_for() -> None:
    client = Client({0: 1})
    async with fetching(client, {0: 0}) as one:
        await client.answer(1, (0, 0, batch(0, b"a")))
        await read(one)
        await asyncio.sleep(0)
        assert len(client.asked) == 1
        assert await one.read(0.01) is None
        assert client.asked[1:] == [(1, {0: 1})]


class Swallowing(Client):
    """One that does not heed a first cancellation, as aiokafka's does while it connects."""

    async def send(self, node: int, request: Any) -> Any:
        sending = asyncio.ensure_future(super().send(node, request))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            sending.cancel()
            if len(self.asked) == 1:
                return response((0, 0, batch(0, b"a")))
            raise


async def test_it_ends_though_the_client_swallows_being_cancelled() -> None:
    client = Swallowing({0: 1})
    one = fetching(client, {0: 0})
    async with asyncio.timeout(30):
        async with one:
            await client.asked_of(1)
        assert len(client.asked) == 1
    assert not one._followed
