"""A process that only consumes, and tells what that cost it: `python -m benchmarks.bare_tail`.

stdin: one JSON object: `kafka`, `topic`, `start` (an offset for each partition) and `amount`, of records. stdout: the
CPU seconds from the first fetch to the last record.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition


def main() -> None:
    """Consume as told."""
    print(asyncio.run(_consume(json.loads(sys.stdin.buffer.readline()))), flush=True)


async def _consume(order: Mapping[str, Any]) -> float:
    start = {TopicPartition(order["topic"], int(partition)): offset for partition, offset in order["start"].items()}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=order["kafka"], group_id=None, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        before = time.process_time()
        consumer.assign(list(start))
        for partition, offset in start.items():
            consumer.seek(partition, offset)
        lacking = order["amount"]
        while lacking > 0:
            found = await consumer.getmany(timeout_ms=1000)
            lacking -= sum(map(len, found.values()))
        return time.process_time() - before
    finally:
        await consumer.stop()


if __name__ == "__main__":
    main()
