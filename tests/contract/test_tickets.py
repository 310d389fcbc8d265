"""The port `Tickets`: what the twin and Postgres promise alike."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import asyncpg
import pytest

from service.adapters.memory_tickets import MemoryTickets
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.tickets import CONNECTING, SIGNING_IN, Kind, PostgresTickets
from service.domain.errors import Denied, TooMany, Unavailable
from service.domain.identity import Identity
from service.embedded.free_ports import choose
from service.ports import Tickets

SECONDS = 30
MOST = 3
ANN = Identity("ann", "viewer", frozenset({"p1", "p2"}), frozenset({"publish"}), 2_000_000_000)
BOB = Identity("bob", "", frozenset(), frozenset(), 1_900_000_000)


class TicketsUnderTest:
    """Tickets as two nodes have them, and what only time can do to them. `word` is what they are called."""

    word: str
    one: Tickets
    other: Tickets

    async def expire(self) -> None:
        """Let those that there are pass their time."""
        raise NotImplementedError

    async def kept(self) -> int:
        """How many there are, expired ones included."""
        raise NotImplementedError


@dataclass
class StoppedClock:
    ms: int = field(default_factory=lambda: int(datetime.now(UTC).timestamp() * 1000))

    def now_ms(self) -> int:
        return self.ms


class Twin(TicketsUnderTest):
    def __init__(self) -> None:
        self.word = "ticket"
        self.clock = StoppedClock()
        self.one = self.other = self.twin = MemoryTickets(self.clock, seconds=SECONDS, most=MOST)

    async def expire(self) -> None:
        self.clock.ms += SECONDS * 1000

    async def kept(self) -> int:
        return len(self.twin._unspent)


class Real(TicketsUnderTest):
    def __init__(self, pool: asyncpg.Pool, other: asyncpg.Pool, kind: Kind) -> None:
        self.pool = pool
        self.word = kind.word
        self.table = kind.table
        self.one = PostgresTickets(pool, seconds=SECONDS, most=MOST, kind=kind)
        self.other = PostgresTickets(other, seconds=SECONDS, most=MOST, kind=kind)

    async def expire(self) -> None:
        await self.pool.execute(f"UPDATE {self.table} SET expires_at = clock_timestamp()")

    async def kept(self) -> int:
        count: int = await self.pool.fetchval(f"SELECT count(*) FROM {self.table}")
        return count


@pytest.fixture
async def _twin_tickets() -> TicketsUnderTest:
    return Twin()


@pytest.fixture
async def _real_tickets(database: str) -> AsyncIterator[TicketsUnderTest]:
    async with open_pool(database) as pool, open_pool(database) as other:
        yield Real(pool, other, CONNECTING)


@pytest.fixture
async def _real_codes(database: str) -> AsyncIterator[TicketsUnderTest]:
    async with open_pool(database) as pool, open_pool(database) as other:
        yield Real(pool, other, SIGNING_IN)


@pytest.fixture(params=["twin_tickets", "real_tickets", "real_codes"])
def tickets(request: pytest.FixtureRequest) -> TicketsUnderTest:
    """None issued yet."""
    under_test: TicketsUnderTest = request.getfixturevalue(f"_{request.param}")
    return under_test


async def test_a_ticket_is_spent_once_over_all_nodes(tickets: TicketsUnderTest) -> None:
    before = datetime.now(UTC).timestamp()
    ticket = await tickets.one.issue(ANN)
    assert abs(ticket.expires_at.timestamp() - before - SECONDS) < 5
    assert ticket.expires_at.utcoffset() is not None
    assert await tickets.other.spend(ticket.text) == ANN, "as it was bought, expiry included"
    for node in (tickets.one, tickets.other):
        with pytest.raises(Denied, match=f"no such {tickets.word}, or it has been spent"):
            await node.spend(ticket.text)


async def test_a_ticket_ends_with_its_token(tickets: TicketsUnderTest) -> None:
    ends = int(datetime.now(UTC).timestamp()) + 5
    assert (await tickets.one.issue(replace(ANN, expires_at=ends))).expires_at.timestamp() == ends


async def test_at_the_same_time_one_gets_it(tickets: TicketsUnderTest) -> None:
    ticket = await tickets.one.issue(ANN)
    answers = await asyncio.gather(
        *(node.spend(ticket.text) for node in [tickets.one, tickets.other] * 5), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == [*["Denied"] * 9, "Identity"]


@pytest.mark.parametrize("text", ["", "nonsense", "x" * 8000, "\x00", "é", "\ud800"])
async def test_what_is_no_ticket(tickets: TicketsUnderTest, text: str) -> None:
    with pytest.raises(Denied, match=f"no such {tickets.word}"):
        await tickets.one.spend(text)


async def test_a_ticket_expires_and_is_removed_by_whoever_comes_by(tickets: TicketsUnderTest) -> None:
    issued = [await tickets.one.issue(ANN) for _ in range(MOST)]
    await tickets.expire()
    with pytest.raises(Denied, match=f"the {tickets.word} has expired"):
        await tickets.one.spend(issued[0].text)
    assert await tickets.kept() == MOST - 1
    await tickets.other.issue(BOB)
    assert await tickets.kept() == 1


async def test_a_user_has_so_many_unspent_ones(tickets: TicketsUnderTest) -> None:
    answers = await asyncio.gather(
        *(node.issue(ANN) for node in [tickets.one, tickets.other] * MOST), return_exceptions=True
    )
    issued = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, TooMany)]
    assert (len(issued), len(refused)) == (MOST, MOST)
    assert all(1 <= one.retry_after <= SECONDS for one in refused)
    assert len({one.text for one in issued}) == MOST
    await tickets.one.issue(BOB)
    await tickets.one.spend(issued[0].text)
    await tickets.one.issue(ANN)
    with pytest.raises(TooMany, match="ann are neither spent nor expired"):
        await tickets.one.issue(ANN)
    await tickets.expire()
    await tickets.one.issue(ANN)


async def test_the_database_does_not_hold_what_connects(database: str) -> None:
    async with open_pool(database) as pool:
        ticket = await PostgresTickets(pool, seconds=SECONDS, most=MOST).issue(ANN)
        (row,) = await pool.fetch("SELECT t::text AS all FROM ticket t")
    assert ticket.text not in row["all"]
    assert ticket.text.encode().hex() not in row["all"]
    assert len(ticket.text) >= 43, "256 bits"


async def test_a_code_does_not_connect_and_a_ticket_does_not_sign_in(database: str) -> None:
    async with open_pool(database) as pool:
        tickets, codes = (PostgresTickets(pool, seconds=9, most=9, kind=kind) for kind in (CONNECTING, SIGNING_IN))
        for one, other in ((tickets, codes), (codes, tickets)):
            issued = await one.issue(ANN)
            with pytest.raises(Denied, match="there is no such"):
                await other.spend(issued.text)
            assert await one.spend(issued.text) == ANN


async def test_without_postgres_there_are_none_now() -> None:
    (port,) = choose(1)
    async with open_pool(f"postgresql://127.0.0.1:{port}/none") as pool:
        tickets = PostgresTickets(pool, seconds=SECONDS, most=MOST)
        for call in (tickets.issue(ANN), tickets.spend("x")):
            with pytest.raises(Unavailable, match="tickets can't be had now") as error:
                await call
            assert error.value.code == "unavailable"
            assert error.value.retry_after > 0
