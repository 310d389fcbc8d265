"""Ids on their way: whoever waits for one is told, whatever becomes of it."""

import asyncio

import pytest

from service.domain.errors import LogUnavailable
from service.node import unread
from service.node.unread import Unread
from service.ports import Place


class NothingRead:
    """A tail that has not come anywhere."""

    def first_of(self, partition: int, id_: str) -> int | None:
        return None

    def has_read(self, partition: int, offset: int) -> bool:
        return False


async def test_one_that_is_forgotten_while_it_is_waited_for_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "_REMEMBERED", 2)
    ids = Unread(NothingRead())
    ids.begin((0, "a"))
    waiting = ids.find((0, "a"))
    assert waiting is not None
    ids.begin((0, "b"))
    ids.begin((0, "c"))
    with pytest.raises(LogUnavailable):
        async with asyncio.timeout(1):
            await waiting
    ids.end((0, "a"), Place(0, 1))
    later = ids.find((0, "c"))
    assert later is not None
    ids.end((0, "c"), Place(0, 2))
    assert await later == Place(0, 2)
