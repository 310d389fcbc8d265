"""Emitting from Python: events a second, validated and encoded, against the bare producer of the same library."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer
from lastseen.emitter import EventEmitter
from lastseen.emitting import Emitted, Emitter
from lastseen.envelope import Event
from lastseen.record import NewRecord, encode
from lastseen.sync_emitter import SyncEventEmitter

from benchmarks.append import bare_producer
from benchmarks.events import make_events
from benchmarks.measured import Row, in_turn, paired
from benchmarks.site import Site

AT_ONCE = 1_000


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    many = list(make_events(site.sized(20_000, 2_000)))
    few = many[: site.sized(400, 50)]
    many_records, few_records = [encode(event) for event in many], [encode(event) for event in few]
    async with site.ground() as ground:
        bare, sync_bare = bare_producer(ground.kafka), _sync_producer(ground.kafka)
        await bare.start()
        try:
            async with EventEmitter(ground.kafka, ground.topic) as emitter:
                with SyncEventEmitter(ground.kafka, ground.topic) as blocking:
                    rates = await in_turn(
                        site.pairs + 1,
                        lambda: _at_once(emitter, many),
                        lambda: _bare_at_once(bare, ground.topic, many_records),
                        lambda: _one_by_one(emitter, few),
                        lambda: _bare_one_by_one(bare, ground.topic, few_records),
                        lambda: asyncio.to_thread(_sync_at_once, blocking, many),
                        lambda: asyncio.to_thread(_sync_bare_at_once, sync_bare, ground.topic, many_records),
                        lambda: asyncio.to_thread(_sync_one_by_one, blocking, few),
                        lambda: asyncio.to_thread(_sync_bare_one_by_one, sync_bare, ground.topic, few_records),
                    )
        finally:
            await bare.stop()
            await asyncio.to_thread(sync_bare.close)
    # The first of each has made the connections, and had the broker compile.
    rates = [found[1:] for found in rates]
    return [
        _row(f"EventEmitter, {AT_ONCE} at once", "aiokafka, the same records", rates[0], rates[1]),
        _row("EventEmitter, one after the other", "aiokafka, the same records", rates[2], rates[3]),
        _row(f"SyncEventEmitter.nowait, {AT_ONCE} at once", "kafka-python-ng, the same records", rates[4], rates[5]),
        _row("SyncEventEmitter, one after the other", "kafka-python-ng, the same records", rates[6], rates[7]),
    ]


def _row(measured: str, limit: str, ours: Sequence[float], bare: Sequence[float]) -> Row:
    return Row("emitters", measured, "events/s", f"bare producer of {limit}", paired(ours, bare))


def _emit(emitter: Emitter[Any], event: Event) -> Any:
    assert event.task_id is not None
    return emitter.emit_task_event(event.type, event.task_id, event.data, project_id=event.project_id)


async def _at_once(emitter: EventEmitter, events: Sequence[Event]) -> float:
    started = time.perf_counter()
    for at in range(0, len(events), AT_ONCE):
        await asyncio.gather(*(_emit(emitter, event) for event in events[at : at + AT_ONCE]))
    return len(events) / (time.perf_counter() - started)


async def _bare_at_once(producer: AIOKafkaProducer, topic: str, records: Sequence[NewRecord]) -> float:
    started = time.perf_counter()
    for at in range(0, len(records), AT_ONCE):
        await asyncio.gather(
            *(
                producer.send_and_wait(topic, value, key, headers=list(headers))
                for key, value, headers in records[at : at + AT_ONCE]
            )
        )
    return len(records) / (time.perf_counter() - started)


async def _one_by_one(emitter: EventEmitter, events: Sequence[Event]) -> float:
    started = time.perf_counter()
    for event in events:
        await _emit(emitter, event)
    return len(events) / (time.perf_counter() - started)


async def _bare_one_by_one(producer: AIOKafkaProducer, topic: str, records: Sequence[NewRecord]) -> float:
    started = time.perf_counter()
    for key, value, headers in records:
        await producer.send_and_wait(topic, value, key, headers=list(headers))
    return len(records) / (time.perf_counter() - started)


def _sync_at_once(emitter: SyncEventEmitter, events: Sequence[Event]) -> float:
    under_way: deque[Future[Emitted]] = deque()
    started = time.perf_counter()
    for event in events:
        under_way.append(_emit(emitter.nowait, event))
        if len(under_way) > AT_ONCE:
            under_way.popleft().result()
    while under_way:
        under_way.popleft().result()
    return len(events) / (time.perf_counter() - started)


def _sync_bare_at_once(producer: Any, topic: str, records: Sequence[NewRecord]) -> float:
    under_way: deque[Any] = deque()
    started = time.perf_counter()
    for key, value, headers in records:
        under_way.append(producer.send(topic, value, key, headers=list(headers)))
        if len(under_way) > AT_ONCE:
            under_way.popleft().get(30)
    while under_way:
        under_way.popleft().get(30)
    return len(records) / (time.perf_counter() - started)


def _sync_one_by_one(emitter: SyncEventEmitter, events: Sequence[Event]) -> float:
    started = time.perf_counter()
    for event in events:
        _emit(emitter, event)
    return len(events) / (time.perf_counter() - started)


def _sync_bare_one_by_one(producer: Any, topic: str, records: Sequence[NewRecord]) -> float:
    started = time.perf_counter()
    for key, value, headers in records:
        producer.send(topic, value, key, headers=list(headers)).get(30)
    return len(records) / (time.perf_counter() - started)


def _sync_producer(bootstrap: str) -> Any:
    return KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        retries=2**31 - 1,
        max_in_flight_requests_per_connection=1,
        batch_size=128 * 1024,
        max_request_size=4 * 1024 * 1024,
    )
