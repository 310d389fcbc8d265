"""Clients that come to a whole node: until each has its `connection_established`, by what the node's process uses of a
core.

Each is a user of its own with a token that the node has not seen, in one of many projects, and is subscribed to three
channels. The clients are another process, in Python, which uses a tenth of what the node does. What their coming brings
besides, once they are in (their presence is written and told to the members of their projects), is a row of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, NamedTuple

from lastseen.positions import Position

from benchmarks.clients import Clients, arriving, bearer, head, until_quiet
from benchmarks.measured import Pair, Row
from benchmarks.processes import cpu_seconds, node, running
from benchmarks.projects import append_all, members, project_of, until_read, user_of
from benchmarks.site import Site
from service.adapters.kafka.log import open_log
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.tickets import PostgresTickets
from service.domain.identity import Identity

_OF_A_PROJECT: Final = 100
_TTL: Final = 7200
_TICKETS_AT_ONCE: Final = 8
_LIMIT: Final = "a bare loop of accept, recv and send of as many ready bytes, from Python"


class Came(NamedTuple):
    """Clients a CPU-second of the server, until they were greeted, and with all that their coming brought."""

    greeted: float
    told: float


@dataclass(frozen=True, slots=True)
class Way:
    """How they come: of users, and the query that names a position, more of the query and of the head for each."""

    name: str
    heads: Callable[[Sequence[str], str], Awaitable[Sequence[tuple[str, str]]]]


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    amount = site.clients or site.sized(4_000, 100)
    projects = max(1, amount // _OF_A_PROJECT)
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(site.ground())
        log = await stack.enter_async_context(open_log(ground.kafka, ground.topic))
        pool = await stack.enter_async_context(open_pool(ground.database_url))
        await append_all(log, members(amount, projects))
        # Who is cut off is told of at once, and not while the next come.
        served = await stack.enter_async_context(node(site, ground, LASTSEEN_PRESENCE_GRACE_SECONDS="0"))
        clients = await stack.enter_async_context(arriving(site))
        came: dict[str, list[Came]] = {}
        size = 0
        ways = _ways(PostgresTickets(pool, seconds=_TTL, most=1_000))
        users = [user_of(number) for number in range(amount)]
        await until_quiet(served)
        # A node that has just begun is slower: its memory grows, and its code is run for the first time.
        await clients.come(served.port, [head(served.port, "", bearer(user)) for user in users[: amount // 4]])
        await clients.cut()
        await until_quiet(served)
        for way in ways * site.pairs:
            after = Position(ground.epoch, await until_read(log, served)).token
            said = await way.heads(users, f"&after={after}")
            heads = [
                head(served.port, f"project_id={project_of(number, projects)}{query}", more)
                for number, (query, more) in enumerate(said)
            ]
            before = served.cpu_seconds()
            arrived = await clients.come(served.port, heads)
            greeted = served.cpu_seconds() - before
            await until_quiet(served)
            told = served.cpu_seconds() - before
            size = arrived["bytes"] // amount
            each, then, theirs = (used / amount * 1e6 for used in (greeted, told, arrived["cpu_seconds"]))
            site.tell(
                f"handshakes, {way.name}: {amount / arrived['seconds']:,.0f} a second, {each:.0f} µs of CPU each, "
                f"{then:.0f} with all that follows, {size} bytes each; the clients used {theirs:.0f} µs each"
            )
            came.setdefault(way.name, []).append(Came(amount / greeted, amount / told))
            await clients.cut()
            await until_quiet(served)
        limits = [await _bare(site, clients, heads, size) for _ in range(site.pairs)]
    return [row for name, took in came.items() for row in _rows(amount, name, took, limits)]


def _rows(amount: int, name: str, took: Sequence[Came], limits: Sequence[float]) -> list[Row]:
    until = {
        "until connection_established": [one.greeted for one in took],
        "until their presence is told too": [one.told for one in took],
    }
    return [
        Row(
            "handshakes",
            f"{amount:,} clients, {name}, {what}",
            "connections/CPU-s",
            _LIMIT,
            [Pair(*both) for both in zip(ours, limits, strict=True)],
        )
        for what, ours in until.items()
    ]


def _ways(tickets: PostgresTickets) -> list[Way]:
    async def with_tokens(users: Sequence[str], _: str) -> Sequence[tuple[str, str]]:
        return [("", bearer(user)) for user in users]

    async def back_with_tokens(users: Sequence[str], after: str) -> Sequence[tuple[str, str]]:
        return [(after, head) for _, head in await with_tokens(users, after)]

    async def back_with_tickets(users: Sequence[str], after: str) -> Sequence[tuple[str, str]]:
        turns = asyncio.Semaphore(_TICKETS_AT_ONCE)
        expires_at = int(time.time()) + _TTL

        async def buy(user: str) -> tuple[str, str]:
            async with turns:
                ticket = await tickets.issue(Identity(user, "", frozenset(), frozenset(), expires_at))
            return f"{after}&ticket={ticket.text}", ""

        return await asyncio.gather(*map(buy, users))

    return [
        Way("each with a token, back at its position", back_with_tokens),
        Way("each with a token, without a position", with_tokens),
        Way("each with a ticket, back at its position", back_with_tickets),
    ]


async def _bare(site: Site, clients: Clients, heads: list[str], size: int) -> float:
    """Clients a CPU-second of the bare loop."""
    async with running(site, "benchmarks.bare_storm", str(size), "connection_established", piped=True) as process:
        assert process.stdout is not None, "piped"
        port = int(await process.stdout.readline())
        before = cpu_seconds(process.pid)
        await clients.come(port, heads)
        used = cpu_seconds(process.pid) - before
        await clients.cut()
    return len(heads) / used
