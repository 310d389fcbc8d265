"""The asynchronous producer with which every one of our appends is made, and how it is stopped in time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

try:
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError
except ImportError as missing:
    raise ImportError('this needs aiokafka: pip install "lastseen[kafka]"') from missing

BATCH_BYTES: Final = 128 * 1024
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
STOP_SECONDS: Final = 3.0


def new_producer(
    bootstrap: str | Sequence[str], *, client_id: str, timeout: float, linger: float = 0.0
) -> AIOKafkaProducer:
    """An idempotent producer that waits for all replicas in sync, to be started. `timeout` is of each request.

    It holds at most two batches a partition; when they are full a send waits. What is sent while a request is under way
    goes together in the next; `linger`, in seconds, is how long after a request at least the next one waits for more.
    """
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        linger_ms=round(linger * 1000),
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
        request_timeout_ms=int(timeout * 1000),
    )


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop it when it has sent what it holds, or after STOP_SECONDS without that."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await producer.flush()
    except TimeoutError:
        await _abandon(producer)
    else:
        with suppress(KafkaError):
            await producer.stop()


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop a producer that can't send what it holds: its own stop waits until that is sent, for ever if need be."""
    await producer.client.close()
    sender = producer._sender.sender_task
    while sender is not None and not sender.done():
        # Cancelled, it still waits for its requests one after the other; each further time ends one of them.
        sender.cancel()
        await asyncio.wait([sender], timeout=0.1)
    # A request may have opened a connection again before it ended.
    await producer.client.close()
    producer._closed = True
