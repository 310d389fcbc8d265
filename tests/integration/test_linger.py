"""Appends of callers that come one after the other: with a linger they share requests, without one each is its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import httpx
import pytest
from lastseen.emitter import EventEmitter
from lastseen.envelope import Event
from lastseen.record import encode
from lastseen.sync_emitter import SyncEventEmitter

from service.adapters.kafka.log import KafkaLog, open_log
from tests.nodes import ADMIN, Ground, new_ground
from tests.waiting import until

CALLERS: Final = 12
LINGER: Final = 0.3
EVENT: Final[dict[str, Any]] = {"type": "user_action", "user_id": "u"}
Append = Callable[[int], Awaitable[object]]


async def batches(log: KafkaLog, append: Append) -> int:
    """How many batches the log got for callers that each come when Kafka has answered another question.

    The broker gives the records of a batch one time, of when it was appended.
    """
    before = {partition: held.next for partition, held in (await log.bounds()).items()}
    callers = []
    for number in range(CALLERS):
        callers.append(asyncio.ensure_future(append(number)))
        await log.bounds()
    await asyncio.gather(*callers)
    times = []
    for partition, held in (await log.bounds()).items():
        async for batch in log.read(partition, before[partition], held.next):
            times += [raw.timestamp for raw in batch.records]
    assert len(times) == CALLERS
    return len(set(times))


async def are_apart(log: KafkaLog, append: Append) -> bool:
    """Whether appends went by themselves."""
    return await batches(log, append) > 2


@asynccontextmanager
async def by_log(ground: Ground, linger: float) -> AsyncIterator[Append]:
    async with open_log(ground.kafka, ground.topic, linger=linger) as log:
        yield lambda number: log.append([encode(Event.model_validate(EVENT | {"data": {"number": number}}))])


@asynccontextmanager
async def by_emitter(ground: Ground, linger: float) -> AsyncIterator[Append]:
    async with EventEmitter(ground.kafka, ground.topic, linger=linger) as emitter:
        yield lambda number: emitter.emit_user_event("user_action", "u", {"number": number})


@asynccontextmanager
async def by_blocking_emitter(ground: Ground, linger: float) -> AsyncIterator[Append]:
    with SyncEventEmitter(ground.kafka, ground.topic, linger=linger) as emitter:
        await asyncio.to_thread(emitter.emit_user_event, "user_login", "other")  # which connects
        yield lambda number: asyncio.wrap_future(emitter.nowait.emit_user_event("user_action", "u", {"number": number}))


@asynccontextmanager
async def by_http(ground: Ground, linger: float) -> AsyncIterator[Append]:
    async with (
        ground.node(append_linger_seconds=linger) as node,
        httpx.AsyncClient(base_url=node.url, headers={"Authorization": f"Bearer {ADMIN}"}) as http,
    ):
        yield lambda number: http.post("/api/v1/events", json=EVENT | {"data": {"number": number}})


@pytest.mark.parametrize("way", [by_log, by_emitter, by_blocking_emitter, by_http])
async def test_appends_share_requests_where_they_may_wait_for_each_other(
    way: Callable[[Ground, float], AbstractAsyncContextManager[Append]], kafka: str, postgres_url: str
) -> None:
    async with new_ground(kafka, postgres_url) as ground, open_log(ground.kafka, ground.topic) as log:
        async with way(ground, LINGER) as append:
            # The first may go by itself: aiokafka waits between requests.
            assert await batches(log, append) <= 2
        async with way(ground, 0) as append:
            # On full cores those that come one after the other may still be taken at once.
            await until(lambda: are_apart(log, append), timeout=60, what="appends that do not wait for each other")
