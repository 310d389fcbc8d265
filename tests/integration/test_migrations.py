"""The migrations build what the metadata says, once, whoever else migrates at the same time."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from lastseen.names import LEFT_OUT_OFFLINE
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from service.adapters.postgres.days import ensure_days
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.schema import log, metadata, upgrade
from service.adapters.postgres.urls import sqlalchemy_url
from service.domain.errors import HistoryUnavailable, LastseenError

ROOT = Path(__file__).parents[2]

CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, l.collname,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    """,
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    """,
    "partitioned": "SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid) FROM pg_partitioned_table",
}


@pytest.fixture
async def empty(postgres_url: str) -> AsyncIterator[str]:
    """A database without a schema."""
    name = f"empty_{uuid.uuid4().hex}"
    await _execute(postgres_url, f"CREATE DATABASE {name}")
    yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    await _execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _catalog(url: str) -> dict[str, set[tuple[object, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        found = {name: {tuple(row) for row in await connection.fetch(query)} for name, query in CATALOG.items()}
    finally:
        await connection.close()
    return {name: {row for row in rows if "alembic_version" not in str(row)} for name, rows in found.items()}


async def test_the_migrations_build_what_the_metadata_says(database: str, empty: str) -> None:
    engine = create_async_engine(sqlalchemy_url(empty))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    built, meant = await _catalog(database), await _catalog(empty)
    assert built == meant
    assert all(built.values())


async def test_alembic_finds_no_difference_even_with_days_attached(database: str) -> None:
    async with open_pool(database) as pool, pool.acquire() as connection:
        await ensure_days(connection)
    assert await _differences(database) == []
    await _execute(database, "ALTER TABLE void ADD COLUMN more text")
    assert len(await _differences(database)) == 1


async def _differences(url: str) -> list[object]:
    children = {"log_" + day for day in await _days(url)}
    assert children

    def compare(connection: Connection) -> list[object]:
        options = {"include_name": lambda name, kind, _parents: not (kind == "table" and name in children)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    engine = create_async_engine(sqlalchemy_url(url))
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def _days(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT substr(relname, 5) FROM pg_class WHERE relispartition AND relkind = 'r'")
    finally:
        await connection.close()
    return [row[0] for row in rows]


async def test_upgrading_again_changes_nothing(database: str) -> None:
    before = await _catalog(database)
    await asyncio.to_thread(upgrade, database)
    assert await _catalog(database) == before


async def test_several_upgrade_at_once_in_threads_and_processes(empty: str, database: str) -> None:
    statement = f"from service.adapters.postgres.schema import upgrade; upgrade({empty!r})"
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", statement) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(asyncio.to_thread(upgrade, empty))
    assert [await process.wait() for process in processes] == [0, 0]
    assert await _catalog(empty) == await _catalog(database)


async def test_a_schema_of_a_newer_version_is_refused_in_a_sentence(database: str) -> None:
    await _execute(database, "UPDATE alembic_version SET version_num = '0099'")
    with pytest.raises(LastseenError, match=r"not of this version of Lastseen \(.*0099.*\): run the version that made"):
        await asyncio.to_thread(upgrade, database)


async def test_a_database_that_refuses_is_said_in_a_sentence(postgres_url: str, empty: str) -> None:
    url = urlsplit(empty)
    wrong = url._replace(netloc=f"{url.username}:wrong@{url.hostname}:{url.port}").geturl()
    with pytest.raises(LastseenError, match="password authentication failed"):
        await asyncio.to_thread(upgrade, wrong)
    with pytest.raises(HistoryUnavailable, match="can't be reached"):
        await asyncio.to_thread(upgrade, "postgresql://nobody@127.0.0.1:1/none")
    await _execute(empty, "CREATE TABLE log (something integer)")
    with pytest.raises(LastseenError, match='"log" already exists; nothing was changed') as error:
        await asyncio.to_thread(upgrade, empty)
    assert "\n" not in str(error.value)
    assert len((await _catalog(empty))["columns"]) == 1


def _alembic(*arguments: str, url: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LASTSEEN_DATABASE_URL"}
    if url is not None:
        environment["LASTSEEN_DATABASE_URL"] = url
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_alembic_itself_upgrades_at_the_root_and_goes_back(empty: str, database: str) -> None:
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"], ["upgrade", "head"]):
        done = await asyncio.to_thread(_alembic, *arguments, url=empty)
        assert done.returncode == 0, done.stderr
    assert await _catalog(empty) == await _catalog(database)


# As `docs/operations.md` has it.
_TASK_STATE = """
    'task_cancelled', 'task_completed', 'task_confirmation_required', 'task_failed', 'task_paused',
    'task_progress_update', 'task_resumed', 'task_screen', 'task_started', 'task_status_change', 'task_timeout'
"""
_MADE_BEFORE = f"""
    CREATE INDEX CONCURRENTLY %s ON %s (task, epoch, partition, "offset")
    WHERE task IS NOT NULL AND type IN ({_TASK_STATE})
"""


async def test_an_index_that_a_day_has_already_is_taken_over(empty: str) -> None:
    done = await asyncio.to_thread(_alembic, "upgrade", "0003", url=empty)
    assert done.returncode == 0, done.stderr
    async with open_pool(empty) as pool, pool.acquire() as connection:
        await ensure_days(connection)
        days = [row[0] for row in await connection.fetch("SELECT relid FROM pg_partition_tree('log') WHERE isleaf")]
        for number, day in enumerate(days):
            await connection.execute(_MADE_BEFORE % (f"made_{number}", day))
        await asyncio.to_thread(upgrade, empty)
        taken = await connection.fetch(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'log_task_state'::regclass ORDER BY 1"
        )
    assert [row[0] for row in taken] == [f"made_{number}" for number in range(len(days))]


async def test_alembic_without_an_address_says_what_is_missing() -> None:
    done = await asyncio.to_thread(_alembic, "upgrade", "head", url=None)
    assert done.returncode != 0
    assert "LASTSEEN_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_index_of_offline_messages_leaves_out_what_they_leave_out() -> None:
    (index,) = [index for index in log.indexes if index.name == "log_inbox"]
    where = str(index.dialect_options["postgresql"]["where"].compile(compile_kwargs={"literal_binds": True}))
    assert {name for name in LEFT_OUT_OFFLINE if f"'{name}'" in where} == LEFT_OUT_OFFLINE
    assert where.count("'") == 2 * len(LEFT_OUT_OFFLINE)
