"""What the log says of tasks, read from Kafka as it grows, beside everybody else's reading."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lastseen.chunks import read_chunk
from lastseen.names import TERMINAL_TYPES
from pydantic_core import from_json

from service.adapters.kafka.log import KafkaLog
from service.domain.duplicates import LookBack
from service.domain.records import Record, read_record
from service.ports import Place
from tests.waiting import until

Message = dict[str, Any]


@dataclass
class TaskBook:
    """What counts, by task and in its order. `read_on` reads what has come since."""

    log: KafkaLog
    records: dict[str, list[Record]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    """Of all that counts, by its id."""
    twice: list[str] = field(default_factory=list)
    """Ids that count a second time."""
    void: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    """Of records, by task."""
    _next: dict[int, int] = field(default_factory=dict)
    _look_back: dict[int, LookBack] = field(default_factory=dict)

    async def read_on(self) -> None:
        """Read all that the log holds now."""
        for partition, bounds in (await self.log.bounds()).items():
            start = self._next.get(partition, bounds.first)
            if start < bounds.next:
                async for batch in self.log.read(partition, start, bounds.next):
                    for raw in batch.records:
                        self._take(read_record(raw))
                self._next[partition] = bounds.next

    async def until(self, condition: Callable[[], bool], *, timeout: float, what: str) -> None:
        """Read until something is so. Raises AssertionError after `timeout` seconds."""

        async def is_so() -> bool:
            await self.read_on()
            return condition()

        await until(is_so, timeout=timeout, what=what)

    def events(self, task: str) -> list[Message]:
        """All of a task, in the order of the log, with their places as a client gets them."""
        return [
            {**from_json(record.value), "partition": record.partition, "offset": record.offset}
            for record in self.records.get(task, ())
        ]

    def end(self, task: str) -> Record | None:
        """Its terminal event."""
        return next((record for record in self.records.get(task, ()) if record.type in TERMINAL_TYPES), None)

    def _take(self, record: Record) -> None:
        void = self._look_back.setdefault(record.partition, LookBack()).judge(record)
        if void is not None:
            self.void[void] += 1
            return
        if record.id in self.places:
            self.twice.append(record.id)
        self.places[record.id] = Place(record.partition, record.offset)
        if record.task is not None:
            self.records.setdefault(record.task, []).append(record)
            self.bytes[record.task] += len(record.value)


def output_of(events: Iterable[Message], stream: str) -> bytes:
    """What a program has written to a stream. Raises AssertionError where bytes are missing or come twice."""
    output = bytearray()
    for event in events:
        if event["type"] == "task_output" and event["data"]["stream"] == stream:
            chunk = read_chunk(event["data"])
            assert chunk.offset == len(output), f"{event['task_id']}: {chunk.offset} comes behind {len(output)}"
            output += chunk.raw
    return bytes(output)
