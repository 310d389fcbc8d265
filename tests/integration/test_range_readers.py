"""The readers of ranges, when there are more who want one than there are readers."""

import asyncio

import pytest

from service.adapters.kafka.readers import RANGE_READERS, RangeReaders
from service.domain.errors import LogUnavailable


async def test_a_read_that_gets_no_turn_in_time_says_so(kafka: str, topic: str) -> None:
    async with RangeReaders(kafka, topic, timeout=1.0) as readers:

        async def read_what_never_comes() -> None:
            async for _ in readers.read(0, 0, 1):
                pass

        async with asyncio.timeout(20):
            answers = await asyncio.gather(
                *(read_what_never_comes() for _ in range(RANGE_READERS + 1)), return_exceptions=True
            )
        assert all(isinstance(answer, LogUnavailable) for answer in answers), answers
        *others, last = map(str, answers)
        assert last == "no turn to read a range of Kafka came within 1 s"
        assert set(others) == {"Kafka gave nothing of partition 0 at offset 0"}
        with pytest.raises(LogUnavailable, match="gave nothing"):
            await read_what_never_comes()
