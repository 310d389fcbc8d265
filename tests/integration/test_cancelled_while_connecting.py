"""Who is told to stop while Kafka's client connects or closes, which swallows that now and then, stops all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from service.adapters.kafka.log import open_log
from service.adapters.kafka.topic_id import read_topic

TRIES = 300


async def describe(kafka: str, topic: str) -> None:
    await read_topic(kafka, topic)


async def open_and_close(kafka: str, topic: str) -> None:
    async with open_log(kafka, topic):
        assert not _was_cancelled(), "what is told to stop goes no further"


@pytest.mark.parametrize("connect", [describe, open_and_close])
async def test_it_ends_whenever_that_is(kafka: str, topic: str, connect: Callable[[str, str], Awaitable[None]]) -> None:
    async def goes_on() -> bool:
        """Whether it did though it had been cancelled."""
        await connect(kafka, topic)
        return _was_cancelled()

    loop, random = asyncio.get_running_loop(), Random(5)
    began = loop.time()
    await goes_on()
    took = loop.time() - began
    stopped = 0
    for _ in range(TRIES):
        task = asyncio.create_task(goes_on())
        await asyncio.wait([task], timeout=random.uniform(0, took))
        task.cancel()
        try:
            assert not await task
        except asyncio.CancelledError:
            stopped += 1
    assert stopped


def _was_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
