"""The projection of rights in Postgres: what a batch changes and how far it reaches, in one transaction.

What changes is decided by the same pure `Rights` as in the nodes, over the rows that the batch bears on.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import asyncpg

from service.adapters.postgres.fence import ADVANCE, check_moved, next_offsets
from service.adapters.postgres.pool import Connection, answering
from service.adapters.postgres.rights_rows import MEMBERS, PROJECTS, TASKS, RightsTable, member_of, project_of, task_of
from service.domain.epochs import Loss
from service.domain.records import Record
from service.domain.rights import PROJECT_TYPES, ChangeKind, Rights, bears_on_rights, ids_of, is_telling

logger = logging.getLogger(__name__)

RIGHTS_PROJECTION: Final = "rights"
"""Its name in `projection_offset`."""
TRIES: Final = 5
REMEMBERED_CHANNELS: Final = 100_000

# Locked, so that who begins or deletes a project and who changes its members don't miss each other.
_PROJECTS_TOUCHED = f"SELECT {PROJECTS.columns} FROM project t WHERE t.id = ANY($1) ORDER BY t.id FOR UPDATE"  # noqa: S608
_MEMBERS_TOUCHED = f"""
    SELECT {MEMBERS.columns} FROM member t
    JOIN unnest($1::text[], $2::text[]) AS w(project, "user") ON w.project = t.project AND w."user" = t."user"
"""  # noqa: S608
_TASKS_TOUCHED = f"SELECT {TASKS.columns} FROM task t WHERE t.id = ANY($1)"  # noqa: S608
_CLEAR = "DELETE FROM member WHERE project = ANY($1)"
_HOLE = """
    INSERT INTO projection_hole (projection, epoch, partition, first_offset, next_offset) VALUES ($1, $2, $3, $4, $5)
"""

_Channels = tuple[int, tuple[str, ...]]


class Stretch(NamedTuple):
    """Offsets `[first, next)` of a partition and the records in it that count, ascending."""

    partition: int
    first: int
    next: int
    records: Sequence[Record]


class RightsStore:
    """Writes the rights of the epoch with this number, `first_of_topic` and `losses` as in `Epoch`.

    Every call raises HistoryUnavailable while the database does not answer.

    After HistoryUnavailable a stretch may have been written or not; only `next_offsets` tells.
    """

    def __init__(self, pool: asyncpg.Pool, epoch: int, first_of_topic: int, losses: Sequence[Loss] = ()) -> None:
        self._pool = pool
        self._epoch = epoch
        self._first_of_topic = first_of_topic
        self._losses = losses
        # What is introduced stays so: the output that follows needs no look at Postgres. Beyond the bound, the oldest
        # is looked up again.
        self._introduced: dict[_Channels, None] = {}

    async def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The offset that each partition's next stretch must begin at; 0 for one never written."""
        with answering():
            async with self._pool.acquire() as connection:
                return await next_offsets(connection, RIGHTS_PROJECTION, self._epoch, partitions)

    async def write(self, stretches: Sequence[Stretch]) -> None:
        """Fold all stretches, at most one a partition, or none. Raises `fence.Fenced`."""
        news, channels = self._news(stretches)
        with answering():
            async with self._pool.acquire() as connection:
                await self._write(connection, stretches, news)
        for one in channels:
            self._introduced[one] = None
        while len(self._introduced) > REMEMBERED_CHANNELS:
            del self._introduced[next(iter(self._introduced))]

    async def write_hole(self, partition: int, first: int, next_: int) -> None:
        """Record that `[first, next_)` is held nowhere any more, and go on behind it. Raises `fence.Fenced`."""
        with answering():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._advance(connection, [Stretch(partition, first, next_, ())])
                await connection.execute(_HOLE, RIGHTS_PROJECTION, self._epoch, partition, first, next_)

    def _news(self, stretches: Sequence[Stretch]) -> tuple[list[Record], dict[_Channels, None]]:
        """The records that may change anything, and the tasks' channels that are introduced by them."""
        news: list[Record] = []
        channels: dict[_Channels, None] = {}
        for stretch in stretches:
            for record in stretch.records:
                if not bears_on_rights(record):
                    continue
                place = (record.partition, record.channels)
                if is_telling(record) or (place not in self._introduced and place not in channels):
                    news.append(record)
                    channels[place] = None
        return news, channels

    async def _write(self, connection: Connection, stretches: Sequence[Stretch], news: Sequence[Record]) -> None:
        for tried in range(1, TRIES + 1):
            try:
                # Repeatable read: a row that somebody else has changed since it was read ends the transaction.
                async with connection.transaction(isolation="repeatable_read"):
                    await self._advance(connection, stretches)
                    if news:
                        await self._fold(connection, news)
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                if tried == TRIES:
                    raise
                logger.info("somebody else wrote the same rows; trying again")
            else:
                return

    async def _advance(self, connection: Connection, stretches: Sequence[Stretch]) -> None:
        partitions, firsts, nexts, _ = zip(*stretches, strict=True)
        arguments = (partitions, firsts, nexts, [0] * len(stretches))
        moved = await connection.fetch(ADVANCE, RIGHTS_PROJECTION, self._epoch, *map(list, arguments))
        check_moved("projection of rights", stretches, {row["partition"] for row in moved})

    async def _fold(self, connection: Connection, news: Sequence[Record]) -> None:
        projects, members, tasks = _touched(news)
        rights = Rights(self._first_of_topic, len(tasks), self._losses)
        rights.load(
            [project_of(row) for row in await connection.fetch(_PROJECTS_TOUCHED, sorted(projects))]
            if projects
            else (),
            [member_of(row) for row in await connection.fetch(_MEMBERS_TOUCHED, *_columns(members))] if members else (),
            [task_of(row) for row in await connection.fetch(_TASKS_TOUCHED, sorted(tasks))] if tasks else (),
            others=(),
        )
        changed_projects: set[str] = set()
        changed_tasks: set[str] = set()
        cleared: set[str] = set()
        for record in news:
            change = rights.apply(record)
            if change is None:
                continue
            if change.task is not None:
                changed_tasks.add(change.task)
            elif change.project is not None:
                changed_projects.add(change.project)
                if change.kind is ChangeKind.PROJECT and rights.is_deleted(change.project):
                    cleared.add(change.project)
        if cleared:
            await connection.execute(_CLEAR, sorted(cleared))
        found = [project for id_ in sorted(changed_projects) if (project := rights.project(id_))]
        await _save(connection, PROJECTS, found)
        await _save(connection, MEMBERS, sorted(m for id_ in changed_projects for m in rights.members(id_)))
        await _save(connection, TASKS, [claim for id_ in sorted(changed_tasks) for claim in rights.claims(id_)])


def _touched(news: Sequence[Record]) -> tuple[set[str], set[tuple[str, str]], set[str]]:
    """The projects, members and tasks that the records bear on."""
    projects: set[str] = set()
    members: set[tuple[str, str]] = set()
    tasks: set[str] = set()
    for record in news:
        task, project, user = ids_of(record.channels)
        if record.type in PROJECT_TYPES:
            if project is not None:
                projects.add(project)
                if user is not None:
                    members.add((project, user))
        elif task is not None:
            tasks.add(task)
    return projects, members, tasks


def _columns(members: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    projects, users = zip(*sorted(members), strict=True)
    return list(projects), list(users)


async def _save(connection: Connection, table: RightsTable, values: Sequence[object]) -> None:
    if values:
        await connection.execute(table.upsert, *table.arrays(values))
