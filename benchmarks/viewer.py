"""A process that notes when each event reaches it: `python -m benchmarks.viewer`.

stdin: one JSON object: `amount`, and `kafka` and `topic`, or `host`, `port`, `token` and `channel`. stdout:
`ready`, then one JSON array with the milliseconds that each event took. An event names its time of sending
by `SENT`, in ns of the machine's monotonic clock.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.site import PARTITIONS
from benchmarks.sockets import connect, subscribe

SENT: Final = "sent-%019d"
_SENT: Final = re.compile(rb"sent-(\d{19})")


def main() -> None:
    """Watch as told."""
    order = json.loads(sys.stdin.buffer.readline())
    took = asyncio.run(_watch_kafka(order)) if "kafka" in order else _watch_node(order)
    print(json.dumps(took), flush=True)


def _watch_node(order: Mapping[str, Any]) -> list[float]:
    took: list[float] = []
    rest = b""
    with connect(order["host"], order["port"], order["token"]) as connection:
        subscribe(connection, order["channel"])
        print("ready", flush=True)
        while len(took) < order["amount"]:
            received = connection.recv(1 << 16)
            now = time.monotonic_ns()
            if not received:
                raise ConnectionError("the node closed the connection")
            rest += received
            end = 0
            for match in _SENT.finditer(rest):
                took.append((now - int(match[1])) / 1e6)
                end = match.end()
            rest = rest[end:]
    return took


async def _watch_kafka(order: Mapping[str, Any]) -> list[float]:
    took: list[float] = []
    partitions = [TopicPartition(order["topic"], number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=order["kafka"], group_id=None, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        print("ready", flush=True)
        while len(took) < order["amount"]:
            found = await consumer.getmany(timeout_ms=1000)
            now = time.monotonic_ns()
            for records in found.values():
                for record in records:
                    match = _SENT.search(record.value)
                    if match is not None:
                        took.append((now - int(match[1])) / 1e6)
    finally:
        await consumer.stop()
    return took


if __name__ == "__main__":
    main()
