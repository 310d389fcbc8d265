"""Appending: events a second through the log's adapter and over HTTP, against a bare idempotent producer."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from aiokafka import AIOKafkaProducer
from lastseen.envelope import Event
from lastseen.record import NewRecord

from benchmarks.events import make_events, make_records, make_starts
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import NodeProcess, node
from benchmarks.site import PARTITIONS, Site
from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.kafka.partitions import partition_of
from service.adapters.kafka.producer import BATCH_BYTES, MAX_REQUEST_BYTES
from service.embedded.free_ports import HOST

BATCH = 100
CALLERS = 16
HTTP_CALLERS = 4

T = TypeVar("T")

Sent = Sequence[tuple[NewRecord, int]]
"""Records with their partitions."""


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    amount, http_amount = site.sized(60_000, 8_000), site.sized(20_000, 3_000)
    records = make_records(amount)
    sent = [(record, partition_of(record.key, PARTITIONS)) for record in records]
    # The node has a topic of its own: its tail must not read what the others append.
    async with (
        site.ground() as ground,
        open_log(ground.kafka, ground.topic) as log,
        site.ground() as other,
        node(site, other) as served,
    ):
        producer = bare_producer(ground.kafka)
        await producer.start()
        try:

            async def through_log() -> float:
                return await _through_log(log, records)

            async def bare() -> float:
                return await _bare(producer, ground.topic, sent)

            async def over_http() -> float:
                return await _over_http(served, list(make_events(http_amount)))

            await _over_http(served, make_starts())
            await in_turn(1, through_log, bare)  # connections, topic metadata, and a broker that has compiled
            log_rates, bare_rates, http_rates = await in_turn(site.pairs, through_log, bare, over_http)
        finally:
            await producer.stop()
    limit = f"bare idempotent aiokafka producer, same records and batch settings, {CALLERS} callers"
    return [
        Row(
            "append", f"KafkaLog.append, {CALLERS} callers × {BATCH}", "events/s", limit, paired(log_rates, bare_rates)
        ),
        Row(
            "append",
            f"POST /api/v1/events, {HTTP_CALLERS} callers × {BATCH}; the node's tail reads them meanwhile",
            "events/s",
            limit,
            paired(http_rates, bare_rates),
        ),
    ]


def bare_producer(bootstrap: str) -> AIOKafkaProducer:
    """A producer set as the service's own."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        acks="all",
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
    )


async def _through_log(log: KafkaLog, records: Sequence[NewRecord]) -> float:
    async def append(batch: Sequence[NewRecord]) -> None:
        await log.append(batch)

    return len(records) / await _seconds(CALLERS, _batches(records), append)


async def _bare(producer: AIOKafkaProducer, topic: str, sent: Sent) -> float:
    async def send(batch: Sent) -> None:
        await asyncio.gather(
            *[
                await producer.send(topic, value, key, partition, headers=list(headers))
                for (key, value, headers), partition in batch
            ]
        )

    return len(sent) / await _seconds(CALLERS, _batches(sent), send)


async def _over_http(served: NodeProcess, events: Sequence[Event]) -> float:
    head = f"POST /api/v1/events HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {served.token}\r\n"
    requests = []
    for batch in _batches(events):
        body = f"[{','.join(event.model_dump_json(exclude_none=True) for event in batch)}]".encode()
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    streams = [await asyncio.open_connection(HOST, served.port) for _ in range(HTTP_CALLERS)]
    idle = list(streams)

    async def post(request: bytes) -> None:
        stream = idle.pop()
        reader, writer = stream
        writer.write(request)
        answered = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answered)
        body = await reader.readexactly(int(length[1]) if length else 0)
        if b" 202 " not in answered or b'"duplicate":true' in body or b'"error"' in body:
            raise RuntimeError(f"not all events were appended: {answered!r} {body[:300]!r}")
        idle.append(stream)

    try:
        return len(events) / await _seconds(HTTP_CALLERS, iter(requests), post)
    finally:
        for _, writer in streams:
            writer.close()


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))


async def _seconds(callers: int, work: Iterable[T], act: Callable[[T], Awaitable[None]]) -> float:
    """How long `callers` take for all the work together, each doing one piece after the other."""
    pieces = iter(work)

    async def call() -> None:
        for piece in pieces:
            await act(piece)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return time.perf_counter() - started
