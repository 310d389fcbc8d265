"""The readers of ranges, when there are more who want one than there are readers."""

from contextlib import AsyncExitStack

import pytest

from service.adapters.kafka.log import open_log
from service.adapters.kafka.readers import RANGE_READERS, RangeReaders
from service.domain.errors import LogUnavailable
from tests.events import records_of, task_events


async def test_a_read_that_gets_no_turn_in_time_says_so(kafka: str, topic: str) -> None:
    async with open_log(kafka, topic) as log:
        (place, *_) = await log.append(records_of(task_events(3, tasks=1)))

    async with RangeReaders(kafka, topic, timeout=30.0) as readers:

        async def read() -> list[int]:
            batches = readers.read(place.partition, place.offset, place.offset + 3)
            return [record.offset async for batch in batches for record in batch.records]

        async with AsyncExitStack() as borrowed:
            for _ in range(RANGE_READERS):
                await borrowed.enter_async_context(readers._borrow(place.partition, place.offset))
            readers._timeout = 0.1
            with pytest.raises(LogUnavailable, match=r"no turn to read a range of Kafka came within 0\.1 s"):
                await read()
            readers._timeout = 30.0
        assert await read() == [place.offset, place.offset + 1, place.offset + 2]
