"""The port `RightsLoader` on the projection in Postgres."""

from collections.abc import Mapping
from typing import Final

import asyncpg

from service.adapters.postgres.pool import Connection, answering
from service.adapters.postgres.rights_rows import MEMBERS, PROJECTS, TASKS, member_of, project_of, task_of
from service.adapters.postgres.rights_store import RIGHTS_PROJECTION
from service.ports import HeldRights, HeldTask

_NEXT: Final = "SELECT partition, next_offset FROM projection_offset WHERE projection = $1 AND epoch = $2"
_PROJECTS: Final = f"SELECT {PROJECTS.columns} FROM project t"  # noqa: S608
_MEMBERS: Final = f"SELECT {MEMBERS.columns} FROM member t"  # noqa: S608
# The newest last: who can't keep them all forgets from the beginning.
_TASKS: Final = f"""
    SELECT {TASKS.columns} FROM task t
    WHERE t.id IN (SELECT id FROM task ORDER BY fixed_ms DESC, id DESC LIMIT $1) ORDER BY t.fixed_ms
"""  # noqa: S608
_OTHERS: Final = "SELECT DISTINCT id FROM task EXCEPT SELECT unnest($1::text[]) LIMIT $2"
_MOST_OTHERS: Final = 1_000_000
"""Ids that are read when a node starts; where there are more, it asks about every task that it has not heard of."""
_TASK: Final = f"SELECT {TASKS.columns} FROM task t WHERE t.id = $1"  # noqa: S608


class PostgresRights:
    """`RightsLoader` of one epoch."""

    def __init__(self, pool: asyncpg.Pool, epoch: int) -> None:
        self._pool = pool
        self._epoch = epoch

    async def load(self, tasks: int) -> HeldRights:
        with answering():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                newest = [task_of(row) for row in await connection.fetch(_TASKS, tasks)]
                ids = list({task.id for task in newest})
                others = await connection.fetch(_OTHERS, ids, _MOST_OTHERS + 1)
                return HeldRights(
                    await self._next(connection),
                    [project_of(row) for row in await connection.fetch(_PROJECTS)],
                    [member_of(row) for row in await connection.fetch(_MEMBERS)],
                    newest,
                    others=None if len(others) > _MOST_OTHERS else [row["id"] for row in others],
                )

    async def task(self, task_id: str) -> HeldTask:
        with answering():
            async with self._pool.acquire() as connection:
                # First how far it has come: what is read after it is of then or later.
                next_ = await self._next(connection)
                rows = await connection.fetch(_TASK, task_id)
        return HeldTask([task_of(row) for row in rows], next_)

    async def _next(self, connection: Connection) -> Mapping[int, int]:
        rows = await connection.fetch(_NEXT, RIGHTS_PROJECTION, self._epoch)
        return {row["partition"]: row["next_offset"] for row in rows}
