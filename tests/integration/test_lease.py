"""The thread that keeps a runner's lease, on a real Postgres."""

import asyncio
import time

import asyncpg
import pytest
from lastseen.errors import Closed

from consumers.running.lease import Lease
from service.adapters.postgres.leases import PostgresLeases
from service.adapters.postgres.pool import open_pool
from tests.waiting import until

PATIENCE = 0.6


async def test_it_is_renewed_whatever_the_event_loop_does(database: str) -> None:
    async with open_pool(database, size=1) as pool:
        leases = PostgresLeases(pool)
        await leases.begin("a", "a")
        async with Lease(database, "a", PATIENCE) as lease:

            async def renewed() -> bool:
                return (await leases.renewals())["a"] > 0

            await until(renewed, what="the first renewal")
            before = (await leases.renewals())["a"]
            time.sleep(4 * PATIENCE)  # noqa: ASYNC251 - the loop is blocked, which is what this is about
            assert (await leases.renewals())["a"] >= before + 3
            await lease.admit()
            assert not lease.is_lost
        ended = (await leases.renewals())["a"]
        await asyncio.sleep(PATIENCE)
        assert (await leases.renewals())["a"] == ended


async def test_who_is_lost_hears_of_it_and_is_admitted_no_more(database: str) -> None:
    async with open_pool(database, size=1) as pool:
        leases = PostgresLeases(pool)
        await leases.begin("a", "a")
        async with Lease(database, "a", PATIENCE) as lease:
            await lease.admit()

            async def lose() -> bool:
                return await leases.lose("a", (await leases.renewals()).get("a", -1))

            await until(lose, what="the lease being taken")
            async with asyncio.timeout(30):
                await lease.lost()
            with pytest.raises(Closed):
                await lease.admit()


async def test_while_postgres_is_away_it_is_believed(database: str, postgres_url: str) -> None:
    name = database.rsplit("/", 1)[1]
    admin = await asyncpg.connect(postgres_url)
    try:
        async with open_pool(database, size=1) as pool:
            leases = PostgresLeases(pool)
            await leases.begin("a", "a")
            async with Lease(database, "a", PATIENCE) as lease:
                await lease.admit()
                await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
                await asyncio.sleep(3 * PATIENCE)
                async with asyncio.timeout(30):
                    await lease.admit()
                await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                before = (await leases.renewals())["a"]

                async def renewed() -> bool:
                    return (await leases.renewals())["a"] > before

                await until(renewed, what="a renewal again")
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
