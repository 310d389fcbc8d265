"""Connections to Postgres, and its errors as the service's own."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.adapters.postgres.urls import plain_url
from service.domain.errors import HistoryUnavailable

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""A connection borrowed from a pool."""

CONNECT_SECONDS = 5.0

_PASSING_CLASSES = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")
"""SQLSTATE classes that say nothing of the statement: connection, a transaction ended or a server read-only,
login, no such database, rollback, resources, object in use, operator, system."""
_NO_SUCH_TABLE = "42P01"


@asynccontextmanager
async def open_pool(
    url: str,
    *,
    size: int = 8,
    seconds: float = 15.0,
    settings: Mapping[str, str] = MappingProxyType({}),
    keeps_state: bool = True,
) -> AsyncIterator[asyncpg.Pool]:
    """Up to `size` connections, made when needed, so that the database may be away at first.

    `seconds` bounds each statement; `settings` are the server's, for these connections. Where nobody leaves anything in
    a session (`keeps_state`), it is not set back after each use, which is a round trip.
    """
    pool = asyncpg.create_pool(
        plain_url(url),
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=seconds,
        reset=None if keeps_state else _leave_as_it_is,
        server_settings={
            "application_name": "lastseen",
            # A generic plan locks every day partition before it prunes them; planning anew costs less.
            "plan_cache_mode": "force_custom_plan",
            "jit": "off",
            **settings,
        },
    )
    await pool
    try:
        yield pool
    finally:
        pool.terminate()


async def _leave_as_it_is(_: object) -> None:
    """Only single statements that read were run."""


@contextmanager
def answering() -> Iterator[None]:
    """Postgres's absence in this block, and what else passes by itself, is raised as HistoryUnavailable."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate == _NO_SUCH_TABLE:
            raise HistoryUnavailable("the database has no schema yet: run `alembic upgrade head`") from error
        if not (error.sqlstate or "08").startswith(_PASSING_CLASSES):
            raise
        raise HistoryUnavailable(f"Postgres is unavailable: {error}") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # The second where the server ended the session at the very moment of a statement.
        raise HistoryUnavailable(f"the connection to Postgres was lost: {error}") from error
    except TimeoutError as error:
        raise HistoryUnavailable("Postgres does not answer in time") from error
    except OSError as error:
        raise HistoryUnavailable(f"Postgres can't be reached: {error}") from error
