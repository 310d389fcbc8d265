"""The port `Cursors`: what the twin and Postgres promise alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from lastseen.positions import Position

from service.adapters.memory_cursors import MemoryCursors
from service.adapters.postgres.cursors import MOST_OF_A_USER, PostgresCursors, sweep_cursors
from service.adapters.postgres.pool import open_pool
from service.domain.errors import HistoryUnavailable
from service.embedded.free_ports import choose
from service.ports import CursorKey, Cursors

PHONE, BROWSER, NAMELESS = CursorKey("ann", "phone"), CursorKey("ann", "browser"), CursorKey("ann", "")
BOB = CursorKey("bob", "phone")


REST, MINUTE = timedelta(days=90), timedelta(minutes=1)
EPOCHS = ("first", "second")
"""Their names in order; `e` and `f` are epochs that nobody knows of."""


def at(*offsets: int, epoch: str = "e") -> Position:
    return Position(epoch, dict(enumerate(offsets)))


@dataclass
class CursorsUnderTest:
    """The cursors, as two nodes have them."""

    one: Cursors
    other: Cursors
    make_older: Callable[[CursorKey, timedelta], Awaitable[None]]


@pytest.fixture
async def _twin_cursors() -> CursorsUnderTest:
    twin = MemoryCursors(MOST_OF_A_USER, EPOCHS, REST)

    async def make_older(key: CursorKey, by: timedelta) -> None:
        twin.make_older(key, by)

    return CursorsUnderTest(twin, twin, make_older)


@pytest.fixture
async def _real_cursors(database: str) -> AsyncIterator[CursorsUnderTest]:
    async with open_pool(database) as pool, open_pool(database) as other:
        begin = "INSERT INTO epoch (number, name, topic_id, partitions) VALUES ($1, $2, gen_random_uuid(), 2)"
        await pool.executemany(begin, [*enumerate(EPOCHS, 1)])

        async def make_older(key: CursorKey, by: timedelta) -> None:
            older = 'UPDATE cursor SET moved_at = moved_at - $3::interval WHERE "user" = $1 AND client_id = $2'
            await pool.execute(older, *key, by)

        yield CursorsUnderTest(PostgresCursors(pool, REST), PostgresCursors(other, REST), make_older)


@pytest.fixture(params=["twin", "real"])
def cursors(request: pytest.FixtureRequest) -> CursorsUnderTest:
    """None begun yet."""
    under_test: CursorsUnderTest = request.getfixturevalue(f"_{request.param}_cursors")
    return under_test


async def test_each_client_of_each_user_has_its_own(cursors: CursorsUnderTest) -> None:
    before = datetime.now(UTC)
    assert await cursors.one.find(PHONE) is None
    moved = {PHONE: at(3, -1), NAMELESS: at(9, 9), BOB: at(0, 0)}
    assert await cursors.one.move(moved) == moved
    for key, position in moved.items():
        assert await cursors.other.find(key) == position
    assert await cursors.other.find(BROWSER) is None
    mine = await cursors.other.of_user("ann")
    assert [(cursor.client_id, cursor.position) for cursor in mine] == [("", at(9, 9)), ("phone", at(3, -1))]
    assert all(abs((cursor.moved_at - before).total_seconds()) < 60 for cursor in mine)
    assert all(cursor.expires_at == cursor.moved_at + REST for cursor in mine)
    assert await cursors.one.of_user("nobody") == []


async def test_a_move_never_lowers(cursors: CursorsUnderTest) -> None:
    await cursors.one.move({PHONE: at(5, 5)})
    assert await cursors.other.move({PHONE: at(9, 1)}) == {PHONE: at(9, 5)}, "partition by partition"
    assert await cursors.one.move({PHONE: at(0, 0)}) == {PHONE: at(9, 5)}
    assert await cursors.other.move({PHONE: Position("e", {1: 7})}) == {PHONE: at(9, 7)}
    assert await cursors.one.find(PHONE) == at(9, 7)


async def test_another_epoch_says_nothing_of_this_one(cursors: CursorsUnderTest) -> None:
    await cursors.one.move({PHONE: at(50, 50)})
    assert await cursors.other.move({PHONE: at(2, 3, epoch="f")}) == {PHONE: at(2, 3, epoch="f")}
    assert await cursors.one.find(PHONE) == at(2, 3, epoch="f")


async def test_a_node_of_an_earlier_epoch_takes_nothing_back(cursors: CursorsUnderTest) -> None:
    first, second = at(50, 50, epoch="first"), at(2, 3, epoch="second")
    assert await cursors.one.move({PHONE: first, BOB: second}) == {PHONE: first, BOB: second}
    assert await cursors.other.move({PHONE: second}) == {PHONE: second}
    assert await cursors.one.move({PHONE: at(60, 60, epoch="first"), BOB: first}) == {PHONE: second, BOB: second}
    assert await cursors.one.find(PHONE) == second


async def test_what_is_deleted_is_forgotten_alone(cursors: CursorsUnderTest) -> None:
    await cursors.one.move({PHONE: at(5), BROWSER: at(6)})
    assert await cursors.other.delete(PHONE)
    assert not await cursors.one.delete(PHONE)
    assert not await cursors.one.delete(BOB)
    assert await cursors.one.find(PHONE) is None
    assert await cursors.one.find(BROWSER) == at(6)
    assert await cursors.one.move({PHONE: at(1)}) == {PHONE: at(1)}


async def test_one_that_has_rested_too_long_is_as_if_it_were_none(cursors: CursorsUnderTest) -> None:
    await cursors.one.move({PHONE: at(5, 5), BROWSER: at(6, 6), NAMELESS: at(7, 7)})
    await cursors.make_older(PHONE, REST)
    await cursors.make_older(NAMELESS, REST)
    await cursors.make_older(BROWSER, REST - MINUTE)
    assert await cursors.one.find(PHONE) is None
    assert await cursors.one.find(BROWSER) == at(6, 6)
    assert [cursor.client_id for cursor in await cursors.other.of_user("ann")] == ["browser"]
    assert not await cursors.one.delete(NAMELESS)
    # It begins anew where its client is now, not where it was.
    assert await cursors.other.move({PHONE: at(1, 9)}) == {PHONE: at(1, 9)}
    assert await cursors.one.find(PHONE) == at(1, 9)
    await cursors.make_older(BROWSER, MINUTE)
    assert await cursors.other.move({BROWSER: at(6, 6)}) == {BROWSER: at(6, 6)}
    assert await cursors.one.find(BROWSER) == at(6, 6), "at the same place, it has rested no longer"


async def test_what_has_rested_too_long_is_swept_and_nothing_else(database: str) -> None:
    async with open_pool(database) as pool:
        kept = PostgresCursors(pool)
        await kept.move({CursorKey(f"u{user}", f"c{client}"): at(1) for user in range(60) for client in range(40)})
        await pool.execute("UPDATE cursor SET moved_at = moved_at - $1::interval WHERE client_id <> 'c7'", REST)
        assert sum(await asyncio.gather(*(sweep_cursors(pool, REST) for _ in range(3)))) == 60 * 39
        assert await pool.fetchval("SELECT count(*) FROM cursor WHERE client_id = 'c7'") == 60
        assert await pool.fetchval("SELECT count(*) FROM cursor") == 60
        (cursor,) = await kept.of_user("u0")
        assert cursor.expires_at is None, "without a time to rest it stays for ever"


async def test_a_user_has_a_hundred_at_most(cursors: CursorsUnderTest) -> None:
    assert MOST_OF_A_USER == 100
    for number in range(100):
        await cursors.one.move({CursorKey("ann", f"c{number:02}"): at(0)})
    await cursors.one.move({BOB: at(0)})
    await cursors.one.move({CursorKey("ann", "c00"): at(1), CursorKey("ann", "c01"): at(0)})
    await cursors.one.move({CursorKey("ann", "new"): at(0)})
    names = [cursor.client_id for cursor in await cursors.one.of_user("ann")]
    assert len(names) == 100
    assert {"new", "c00"} <= {*names}
    assert "c01" not in names, "named again at the same place it has rested longest"
    assert await cursors.one.find(BOB) == at(0)


async def test_nodes_that_begin_cursors_at_once_leave_a_hundred(cursors: CursorsUnderTest) -> None:
    await cursors.one.move({CursorKey("ann", f"old{number}"): at(0) for number in range(98)})
    sides = [cursors.one, cursors.other]
    await asyncio.gather(*(sides[n % 2].move({CursorKey("ann", f"n{n}"): at(0)}) for n in range(16)))
    names = {cursor.client_id for cursor in await cursors.one.of_user("ann")}
    assert len(names) == 100
    assert {f"n{n}" for n in range(16)} <= names


async def test_moves_of_two_nodes_lose_nothing_and_wait_for_nobody_in_turn(cursors: CursorsUnderTest) -> None:
    random = Random(4)
    keys = [CursorKey(user, client) for user in ("ann", "bob", "cid") for client in "abcdefgh"]
    expected: dict[CursorKey, Position] = {}
    batches: list[dict[CursorKey, Position]] = []
    for _ in range(60):
        chosen = random.sample(keys, random.randint(1, len(keys)))  # in any order
        batches.append({key: at(random.randrange(1000), random.randrange(1000)) for key in chosen})
        for key, position in batches[-1].items():
            expected[key] = expected[key].raised(position) if key in expected else position
    sides = [cursors.one, cursors.other]
    answers = await asyncio.gather(*(sides[n % 2].move(batch) for n, batch in enumerate(batches)))
    for batch, answer in zip(batches, answers, strict=True):
        assert all(answer[key].raised(position) == answer[key] for key, position in batch.items())
    assert {key: await cursors.one.find(key) for key in keys} == expected


async def test_without_postgres_they_can_t_be_had_now() -> None:
    (port,) = choose(1)
    async with open_pool(f"postgresql://127.0.0.1:{port}/none") as pool:
        away = PostgresCursors(pool)
        twin = MemoryCursors()
        twin.available = False
        for cursors in (away, twin):
            for call in (cursors.find(PHONE), cursors.move({PHONE: at(1)}), cursors.of_user("ann")):
                with pytest.raises(HistoryUnavailable):
                    await call
            with pytest.raises(HistoryUnavailable):
                await cursors.delete(PHONE)
