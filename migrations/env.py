"""How Alembic reaches the database: by the address given in code, else by LASTSEEN_DATABASE_URL."""

import asyncio
import os
from collections.abc import Collection

from alembic import context
from alembic.runtime.environment import NameFilterParentNames, NameFilterType
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.adapters.postgres.schema import metadata
from service.adapters.postgres.urls import sqlalchemy_url

# Any number will do, as long as nothing else of ours locks by it.
MIGRATION_LOCK = 7_243_001


def _address() -> str:
    url = context.config.attributes.get("url") or os.environ.get("LASTSEEN_DATABASE_URL")
    if not url:
        raise SystemExit("Set LASTSEEN_DATABASE_URL to the database to migrate: postgresql://user:password@host/name")
    return sqlalchemy_url(url)


def _child_partitions(connection: Connection) -> Collection[str]:
    return set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition")))


def _migrate(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    children = _child_partitions(connection)

    def include(name: str | None, kind: NameFilterType, _parents: NameFilterParentNames) -> bool:
        # The day partitions come and go; autogenerate would drop them.
        return not (kind == "table" and name in children)

    context.configure(connection=connection, target_metadata=metadata, include_name=include)
    context.run_migrations()


async def _run() -> None:
    engine = create_async_engine(_address(), poolclass=pool.NullPool)
    try:
        # One transaction around lock and migrations: all of it or nothing, and the lock is never left behind.
        async with engine.begin() as connection:
            await connection.run_sync(_migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("The migrations run against a database only: leave out --sql.")
asyncio.run(_run())
