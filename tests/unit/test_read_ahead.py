"""Reading ahead: what was begun is taken once, and nothing outlives its block."""

import asyncio

import pytest

from service.domain.errors import HistoryUnavailable
from service.node.read_ahead import ReadAhead


async def test_what_was_begun_for_a_key_is_what_it_gets() -> None:
    async def read() -> str:
        await asyncio.sleep(0)
        return "page"

    async with ReadAhead[int, str]() as ahead:
        assert await ahead.take(1) is None
        ahead.begin(1, read())
        assert await ahead.take(1) == "page"
        assert await ahead.take(1) is None, "it is taken once"
        ahead.begin(2, read())
        assert await ahead.take(3) is None, "something else is wanted by now"
        ahead.begin(3, read())
        assert await ahead.take(3) == "page"


async def test_an_error_comes_out_where_it_is_taken_and_nowhere_else() -> None:
    async def fail() -> str:
        raise HistoryUnavailable("away")

    async with ReadAhead[int, str]() as ahead:
        ahead.begin(1, fail())
        with pytest.raises(HistoryUnavailable):
            await ahead.take(1)
        ahead.begin(2, fail())


async def test_the_end_waits_for_what_is_under_way_and_a_cancelling_ends_it() -> None:
    ended: list[str] = []
    let = asyncio.Event()

    async def read(name: str) -> str:
        try:
            await let.wait()
        finally:
            ended.append(name)
        return name

    async def use(name: str) -> None:
        async with ReadAhead[int, str]() as ahead:
            ahead.begin(1, read(name))
            await asyncio.sleep(0)

    waiting = asyncio.create_task(use("waited for"))
    cancelled = asyncio.create_task(use("cancelled"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)
    assert ended == ["cancelled"]
    let.set()
    await waiting
    assert ended == ["cancelled", "waited for"]
