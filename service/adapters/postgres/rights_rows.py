"""Projects, members and tasks as rows, and back."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import asyncpg
from lastseen.names import Role
from lastseen.task_state import TaskState

from service.domain.rights import Member, Project
from service.domain.stamps import Stamp
from service.domain.tasks import Task


class _Column(NamedTuple):
    name: str
    type: str
    in_key: bool = False


class RightsTable:
    """One of the tables of rights: how its rows are read and written."""

    def __init__(self, name: str, columns: Sequence[_Column], row_of: Callable[[Any], tuple[object, ...]]) -> None:
        self._row_of = row_of
        self.columns: Final = ", ".join(f't."{column.name}"' for column in columns)
        """What the reader of a row needs, of the table as `t`."""
        names = ", ".join(f'"{column.name}"' for column in columns)
        arrays = ", ".join(f"${at}::{column.type}[]" for at, column in enumerate(columns, 1))
        key = ", ".join(f'"{column.name}"' for column in columns if column.in_key)
        others = ", ".join(f'"{c.name}" = excluded."{c.name}"' for c in columns if not c.in_key)
        # Sorted like the arrays, so that two writers of the same rows don't deadlock.
        self.upsert: Final = f"""
            INSERT INTO {name} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT ({key}) DO UPDATE SET {others}
        """  # noqa: S608

    def arrays(self, values: Sequence[Any]) -> list[list[object]]:
        """The arguments of `upsert`: an array a column."""
        return [list(column) for column in zip(*(self._row_of(value) for value in values), strict=True)]


def _stamp(prefix: str) -> list[_Column]:
    types = {"epoch": "int", "ms": "bigint", "partition": "int", "offset": "bigint"}
    return [_Column(f"{prefix}_{name}", type_) for name, type_ in types.items()]


PROJECTS: Final = RightsTable(
    "project",
    [
        _Column("id", "text", in_key=True),
        _Column("name", "text"),
        _Column("deleted", "bool"),
        _Column("created", "bool"),
        *_stamp("since"),
    ],
    lambda project: (*project[:4], *project.since),
)
MEMBERS: Final = RightsTable(
    "member",
    [
        _Column("project", "text", in_key=True),
        _Column("user", "text", in_key=True),
        _Column("role", "text"),
        *_stamp("since"),
    ],
    lambda member: (member.project, member.user, member.role, *member.since),
)
TASKS: Final = RightsTable(
    "task",
    [
        _Column("id", "text", in_key=True),
        _Column("project", "text", in_key=True),
        _Column("user", "text"),
        _Column("state", "text"),
        _Column("started", "bool"),
        *_stamp("fixed"),
        *_stamp("changed"),
    ],
    lambda task: (*task[:3], task.state.value, task.started, *task.fixed_by, *(task.changed_by or (None,) * 4)),
)


def project_of(row: asyncpg.Record) -> Project:
    """The project of a row of PROJECTS."""
    id_, name, deleted, created, *since = row
    return Project(id_, name, deleted, created, Stamp(*since))


def member_of(row: asyncpg.Record) -> Member:
    """The member of a row of MEMBERS."""
    project, user, role, *since = row
    return Member(project, user, None if role is None else Role(role), Stamp(*since))


def task_of(row: asyncpg.Record) -> Task:
    """The claim to a task of a row of TASKS."""
    id_, project, user, state, started, *stamps = row
    changed = None if stamps[4] is None else Stamp(*stamps[4:])
    return Task(id_, project, user, TaskState(state), started, Stamp(*stamps[:4]), changed)
