"""The port `Leases`: what the twin and Postgres promise alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from service.adapters.memory_leases import MemoryLeases
from service.adapters.postgres.leases import PostgresLeases
from service.adapters.postgres.pool import open_pool
from service.domain.errors import HistoryUnavailable
from service.embedded.free_ports import choose
from service.ports import Claim, Leases


@dataclass
class LeasesUnderTest:
    """The leases, as two runners have them."""

    one: Leases
    other: Leases
    make_older: Callable[[timedelta], Awaitable[None]]


@pytest.fixture
async def _twin_leases() -> LeasesUnderTest:
    twin = MemoryLeases()

    async def make_older(by: timedelta) -> None:
        twin.make_older(by)

    return await _begun(LeasesUnderTest(twin, twin, make_older))


@pytest.fixture
async def _real_leases(database: str) -> AsyncIterator[LeasesUnderTest]:
    async with open_pool(database) as pool, open_pool(database) as other:

        async def make_older(by: timedelta) -> None:
            await pool.execute("UPDATE task_claim SET ended_at = ended_at - $1::interval", by)
            await pool.execute("UPDATE runner SET lost_at = lost_at - $1::interval", by)

        yield await _begun(LeasesUnderTest(PostgresLeases(pool), PostgresLeases(other), make_older))


async def _begun(leases: LeasesUnderTest) -> LeasesUnderTest:
    await leases.one.begin("a", "first")
    await leases.other.begin("b", "second")
    return leases


@pytest.fixture(params=["twin", "real"])
def leases(request: pytest.FixtureRequest) -> LeasesUnderTest:
    """Two incarnations live, `a` and `b`, and have claimed nothing."""
    under_test: LeasesUnderTest = request.getfixturevalue(f"_{request.param}_leases")
    return under_test


def claim(task: str, runner: str = "a", command: str = "c1", user: str = "ann") -> Claim:
    return Claim(task, runner, command, user, "shop")


async def test_a_number_rises_while_its_incarnation_lives(leases: LeasesUnderTest) -> None:
    assert await leases.one.renewals() == {"a": 0, "b": 0}
    assert await leases.one.renew("a")
    assert await leases.one.renew("a")
    await leases.one.begin("a", "again")
    assert await leases.other.renewals() == {"a": 2, "b": 0}
    assert not await leases.one.renew("nobody")


async def test_one_that_has_renewed_meanwhile_is_not_lost(leases: LeasesUnderTest) -> None:
    await leases.one.renew("a")
    assert not await leases.other.lose("a", 0)
    assert await leases.one.claim(claim("held"))
    assert await leases.other.lose("a", 1)
    assert not await leases.other.is_held("held")
    assert not await leases.other.is_held("claimed by nobody")
    assert not await leases.one.renew("a")
    await leases.one.begin("b", "second")
    assert await leases.one.renewals() == {"b": 0}


async def test_one_judge_alone_says_it(leases: LeasesUnderTest) -> None:
    sides = [leases.one, leases.other]
    said = await asyncio.gather(*(sides[n % 2].lose("a", 0) for n in range(8)))
    assert sorted(said) == [False] * 7 + [True]


async def test_a_task_is_its_first_claimant_s_for_good(leases: LeasesUnderTest) -> None:
    sides = {"a": leases.one, "b": leases.other}
    for number in range(10):
        names = "abab"
        claims = await asyncio.gather(*(sides[name].claim(claim(f"t{number}", name)) for name in names))
        assert {name for name, mine in zip(names, claims, strict=True) if mine} in ({"a"}, {"b"})
    assert await leases.one.claim(claim("t"))
    assert await leases.one.claim(claim("t")), "the answer to the first may have been lost"
    assert not await leases.one.claim(claim("t", command="c2"))
    assert not await leases.one.claim(claim("t", user="bob"))
    assert await leases.other.is_held("t")
    await leases.one.end([claim("t")])
    assert not await leases.other.is_held("t")
    assert not await leases.one.claim(claim("t"))
    assert not await leases.other.claim(claim("t", "b"))


async def test_what_is_released_may_be_claimed(leases: LeasesUnderTest) -> None:
    assert await leases.one.claim(claim("t"))
    await leases.other.release(claim("t", "b"))
    assert not await leases.other.claim(claim("t", "b"))
    await leases.one.release(claim("t"))
    assert await leases.other.claim(claim("t", "b"))
    await leases.other.end([claim("t", "b")])
    await leases.other.release(claim("t", "b"))
    assert not await leases.one.claim(claim("t")), "it has been run"


async def test_claims_of_the_lost_are_found_until_they_are_ended(leases: LeasesUnderTest) -> None:
    for task in ("t1", "t2", "t3"):
        assert await leases.one.claim(claim(task))
    assert await leases.other.claim(claim("mine", "b"))
    await leases.one.end([claim("t2"), claim("mine")])
    assert await leases.other.lost() == []
    assert await leases.other.lose("a", 0)
    assert await leases.other.lost() == [claim("t1"), claim("t3")]
    assert not await leases.one.claim(claim("new"))
    assert not await leases.one.claim(claim("t1")), "a lost one holds nothing"
    await leases.other.end([claim("t1")])
    assert await leases.other.lost() == [claim("t3")]
    await leases.other.leave("b")
    assert await leases.other.lost() == [claim("mine", "b"), claim("t3")]


async def test_who_is_lost_while_he_claims_has_nothing_that_nobody_finds(leases: LeasesUnderTest) -> None:
    for number in range(10):
        runner, task = f"r{number}", f"t{number}"
        await leases.one.begin(runner, "short-lived")
        mine, lost = await asyncio.gather(leases.one.claim(claim(task, runner)), leases.other.lose(runner, 0))
        assert lost
        if mine:
            assert claim(task, runner) in await leases.other.lost()


async def test_what_ended_long_ago_is_forgotten_and_nothing_else(leases: LeasesUnderTest) -> None:
    for task in ("ended", "open", "late"):
        await leases.one.claim(claim(task))
    await leases.one.end([claim("ended")])
    await leases.make_older(timedelta(days=3))
    await leases.one.end([claim("late")])
    await leases.one.lose("b", 0)
    await leases.one.sweep(2)
    assert await leases.one.claim(claim("ended"))
    assert not await leases.one.claim(claim("late", command="c2"))
    assert not await leases.one.claim(claim("open", command="c2"))
    assert not await leases.other.renew("b")
    await leases.make_older(timedelta(days=3))
    await leases.one.sweep(2)
    assert not await leases.other.renew("b")


async def test_without_postgres_they_can_t_be_had_now() -> None:
    (port,) = choose(1)
    async with open_pool(f"postgresql://127.0.0.1:{port}/none") as pool:
        twin = MemoryLeases()
        twin.available = False
        for leases in (PostgresLeases(pool), twin):
            calls: list[Awaitable[object]] = [
                *(leases.begin("a", "a"), leases.renew("a"), leases.renewals(), leases.lose("a", 0)),
                *(leases.leave("a"), leases.claim(claim("t")), leases.release(claim("t")), leases.end([claim("t")])),
                *(leases.lost(), leases.sweep(1)),
            ]
            for call in calls:
                with pytest.raises(HistoryUnavailable):
                    await call
