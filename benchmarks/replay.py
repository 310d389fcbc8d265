"""Replay: events a second that one returning client gets, against the same SQL query streamed without us."""

import asyncio
import time
from collections.abc import Sequence

from lastseen.channels import Channel, parse_channel
from lastseen.record import encode

from benchmarks.events import make_event
from benchmarks.log_writer import fill, rate_of_copying
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import NodeProcess, log_writer, node
from benchmarks.site import PARTITIONS, Ground, Site
from benchmarks.sockets import connect, receive_until, subscribe
from service.adapters.kafka.log import open_log
from service.adapters.postgres.page_query import page_query
from service.adapters.postgres.pool import open_pool
from service.embedded.free_ports import HOST

CHANNEL = "task:replay"
_PREFETCH = 1_000


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    amount = site.sized(20_000, 3_000)
    # A window of no records: what this node replays comes from Postgres.
    no_window = {"LASTSEEN_WINDOW_OFFSETS": "0"}
    async with site.ground() as ground, node(site, ground) as with_window:
        async with open_log(ground.kafka, ground.topic) as log:
            await fill(log, [encode(make_event("replay", "replay")) for _ in range(amount)])
        async with log_writer(site, ground):
            await rate_of_copying(ground, amount)
        async with node(site, ground, **no_window) as without_window:

            async def from_window() -> float:
                return await _replayed(with_window, amount)

            async def from_postgres() -> float:
                return await _replayed(without_window, amount)

            async def from_sql() -> float:
                return await streamed(ground, [parse_channel(CHANNEL)], amount, amount)

            window, postgres, sql = await in_turn(site.pairs, from_window, from_postgres, from_sql)
    limit = "the history's query streamed by asyncpg through a cursor"
    return [
        Row("replay", f"one client, {amount:,} events out of the window", "events/s", limit, paired(window, sql)),
        Row("replay", f"one client, {amount:,} events out of Postgres", "events/s", limit, paired(postgres, sql)),
    ]


async def _replayed(served: NodeProcess, amount: int) -> float:
    return amount / await asyncio.to_thread(_replay, served, amount)


def _replay(served: NodeProcess, amount: int) -> float:
    """Seconds from the subscribe until the client has caught up, every event counted."""
    with connect(HOST, served.port, served.token) as connection:
        started = time.perf_counter()
        subscribe(connection, CHANNEL, from_start=True)
        pieces = receive_until(connection, b'"type":"caught_up"')
        seconds = time.perf_counter() - started
    came = b"".join(pieces).count(b'"replay":[')
    if came != amount:
        raise RuntimeError(f"{came} events were replayed, not {amount}")
    return seconds


async def streamed(ground: Ground, channels: Sequence[Channel], upto: int, amount: int) -> float:
    """Rows a second of the history's own query for the channels, up to an offset, read by asyncpg through a cursor."""
    query, ids = page_query(channels)
    everything = list(range(PARTITIONS)), [-1] * PARTITIONS, [upto] * PARTITIONS
    async with open_pool(ground.database_url) as pool, pool.acquire() as connection, connection.transaction():
        ((first_day, last_day),) = await connection.fetch("SELECT min(bucket), max(bucket) FROM log_bucket")
        arguments = (1, amount, *everything, first_day, last_day, *ids)
        started = time.perf_counter()
        came = 0
        async for _ in connection.cursor(query, *arguments, prefetch=_PREFETCH):
            came += 1
        seconds = time.perf_counter() - started
    if came != amount:
        raise RuntimeError(f"the query gave {came} rows, not {amount}")
    return amount / seconds
