"""A reader that is told to stop while aiokafka swallows that, as it does now and then while it connects."""

import asyncio
import contextlib
from typing import Any

import pytest

from consumers import reader
from consumers.reader import Reader, open_member
from service.settings import Settings
from tests.waiting import until


class Swallowing:
    """A consumer of whose calls one does not heed that it is cancelled."""

    def __init__(self, **_: Any) -> None:
        self.waits = self.polls = 0
        self.is_stopped = False

    async def _swallow(self) -> None:
        self.waits += 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def start(self) -> None:
        await self._swallow()

    async def stop(self) -> None:
        self.is_stopped = True

    def subscribe(self, *_: Any, **__: Any) -> None:
        pass

    def assignment(self) -> set[Any]:
        return set()

    async def getmany(self, **_: Any) -> dict[Any, Any]:
        self.polls += 1
        if self.polls == 2:
            await self._swallow()
        await asyncio.sleep(0)
        return {}


class Unused:
    """A sink that nothing comes to."""


async def ends(task: "asyncio.Task[None]", consumer: Swallowing) -> None:
    await until(lambda: consumer.waits, timeout=30, what="a call that is waited for")
    task.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_reader_that_polls_ends() -> None:
    consumer = Swallowing()

    async def read() -> None:
        async with Reader(consumer, "t", Unused()) as one:  # type: ignore[arg-type]
            await one.run()

    await ends(asyncio.create_task(read()), consumer)
    assert consumer.polls == 2


async def test_a_member_that_connects_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Swallowing()
    monkeypatch.setattr(reader, "AIOKafkaConsumer", lambda **_: consumer)
    entered = False

    async def read() -> None:
        nonlocal entered
        async with open_member(Settings(kafka="h:1"), "a"):
            entered = True

    await ends(asyncio.create_task(read()), consumer)
    assert (entered, consumer.is_stopped) == (False, True)
