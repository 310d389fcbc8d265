"""What connections acknowledge is moved once, however often they say it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
from lastseen.positions import Position

from service.adapters.memory_cursors import MemoryCursors
from service.node.cursors import CursorKeeper
from service.ports import CursorKey
from tests.waiting import until

ANN = CursorKey("ann", "")
FIRST, SECOND = Position("e", {0: 1}), Position("e", {0: 2})


class Counting(MemoryCursors):
    def __init__(self) -> None:
        super().__init__()
        self.moves: list[dict[CursorKey, Position]] = []

    async def move(self, moves: Mapping[CursorKey, Position]) -> Mapping[CursorKey, Position]:
        self.moves.append(dict(moves))
        return await super().move(moves)


@dataclass
class Kept:
    cursors: Counting
    keeper: CursorKeeper

    async def moved(self, *moves: Position) -> None:
        """Wait until these have been written, and no others."""
        wanted = [{ANN: position} for position in moves]
        await until(lambda: len(self.cursors.moves) >= len(wanted), what=f"{len(wanted)} moves")
        assert self.cursors.moves == wanted


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    cursors = Counting()
    keeper = CursorKeeper(cursors)
    running = asyncio.create_task(keeper.run())
    yield Kept(cursors, keeper)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_where_it_was_moved_last_it_is_not_moved_again(kept: Kept) -> None:
    kept.keeper.move(ANN, FIRST)
    await kept.moved(FIRST)
    kept.keeper.move(ANN, FIRST)
    kept.keeper.move(ANN, SECOND)
    await kept.moved(FIRST, SECOND)
    kept.keeper.move(ANN, FIRST)
    await kept.moved(FIRST, SECOND, FIRST)
    assert await kept.keeper.find(ANN) == SECOND, "it is never lowered"


async def test_one_that_was_deleted_is_moved_there_again(kept: Kept) -> None:
    kept.keeper.move(ANN, FIRST)
    await kept.moved(FIRST)
    assert await kept.keeper.delete(ANN)
    kept.keeper.move(ANN, FIRST)
    await kept.moved(FIRST, FIRST)


async def test_whoever_wants_to_know_that_it_is_stored_is_told(kept: Kept) -> None:
    kept.keeper.move(ANN, FIRST)
    await kept.moved(FIRST)
    assert await kept.keeper.store(ANN, FIRST) == FIRST
