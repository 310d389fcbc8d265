"""The tables of the log. The migrations build exactly what this metadata says; a test compares the two.

Every key begins with the epoch, because offsets mean something within one epoch only. `bucket` is the UTC
day on which the log writer copied the record, by the database's clock: a producer's clock decides nothing.
"""

import threading
from pathlib import Path
from typing import Any

from lastseen.names import LEFT_OUT_OFFLINE, PROJECT_STATE_TYPES, TASK_STATE_TYPES
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from service.adapters.postgres.pool import answering
from service.domain.errors import LastseenError

metadata = MetaData()


def _text() -> Text:
    """Ids compare by their bytes: faster than a language's order, and the same on every machine."""
    return Text(collation="C")


epoch = Table(
    "epoch",
    metadata,
    Column("number", Integer, autoincrement=False, nullable=False),
    Column("name", _text(), nullable=False),
    Column("topic_id", Uuid, nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("reason", _text()),
    Column("lost", JSONB),
    Column("announced_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("number", name="epoch_pkey"),
    UniqueConstraint("name", name="epoch_name_key"),
)
"""The epochs, the present one last. `reason` says why it began (null: of before that was kept).

Where it is `lost`, `lost` is a JSON array of [partition, first, next]: `[first, next)`, which may be
empty, had been read and is lost. `announced_at` says when users were told.
"""

log = Table(
    "log",
    metadata,
    Column("epoch", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("bucket", Date, nullable=False),
    Column("id", _text(), nullable=False),
    Column("type", _text(), nullable=False),
    Column("appended_at", DateTime(timezone=True), nullable=False),
    Column("ttl", BigInteger),
    Column("task", _text()),
    Column("project", _text()),
    Column("user", _text()),
    Column("system", Boolean, nullable=False),
    Column("broadcast", Boolean, nullable=False),
    Column("payload", Text, nullable=False),
    PrimaryKeyConstraint("epoch", "partition", "offset", "bucket", name="log_pkey"),
    postgresql_partition_by="RANGE (bucket)",
)
"""The readable records that count, by day partitions `log_YYYYMMDD` (there is no default partition).

`task` … `broadcast` are the channels of the record's header, the one truth of its routing.
"""

for _kind in ("task", "project", "user"):
    _id = log.c[_kind]
    Index(f"log_{_kind}", _id, log.c.epoch, log.c.partition, log.c.offset, postgresql_where=_id.is_not(None))
for _kind in ("system", "broadcast"):
    _flag = log.c[_kind]
    Index(f"log_{_kind}", log.c.epoch, log.c.partition, log.c.offset, postgresql_where=_flag)
Index(
    "log_inbox",
    log.c.user,
    log.c.epoch,
    log.c.partition,
    log.c.offset,
    postgresql_where=log.c.user.is_not(None) & log.c.type.not_in(sorted(LEFT_OUT_OFFLINE)),
)
"""For offline messages: the floods of a user's tasks are not in it."""

for _kind, _types in (("task", TASK_STATE_TYPES), ("project", PROJECT_STATE_TYPES)):
    _id = log.c[_kind]
    Index(
        f"log_{_kind}_state",
        *(_id, log.c.epoch, log.c.partition, log.c.offset),
        postgresql_where=_id.is_not(None) & log.c.type.in_(sorted(_types)),
    )
"""For the states of tasks and projects: a task's output, and all that its project's channel carries of it, is not in
them."""

log_bucket = Table(
    "log_bucket",
    metadata,
    Column("epoch", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("bucket", Date, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("epoch", "partition", "bucket", name="log_bucket_pkey"),
)
"""What each day covers, void records and holes and all: a partition's ranges tile `[first_offset, next_offset)`."""

void = Table(
    "void",
    metadata,
    Column("epoch", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("id", _text(), nullable=False),
    Column("why", _text(), nullable=False),
    Column("ended_task", _text()),
    PrimaryKeyConstraint("epoch", "partition", "offset", name="void_pkey"),
)
"""The records passed over by the void rule; the next look-back is loaded from here too.

Below `first_offset` also the ids of dropped days that lie within the look-back, whose `why` is `dropped`.
"""

quarantine = Table(
    "quarantine",
    metadata,
    Column("epoch", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", _text(), nullable=False),
    Column("detail", Text, nullable=False),
    Column("id", _text()),
    Column("ended_task", _text()),
    Column("channels", _text()),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False),
    Column("appended_at", DateTime(timezone=True)),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("epoch", "partition", "offset", name="quarantine_pkey"),
    Index("quarantine_newest", "at", "epoch", "partition", "offset"),
)
Index(
    "quarantine_told",
    *(quarantine.c.epoch, quarantine.c.partition, quarantine.c.offset),
    postgresql_where=quarantine.c.channels.is_not(None),
)
"""Records that no reader can use, or that Postgres refused, as they came.

`headers` is a JSON array of [name, base64 of the value or null]. `id` and `ended_task` are set where the
record was readable and Postgres refused it: the void rule still counts it. `channels`, joined by commas, are those
whose readers are told that it is missing; null where nobody can tell.
"""

hole = Table(
    "hole",
    metadata,
    Column("epoch", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("reason", _text(), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("epoch", "partition", "first_offset", name="hole_pkey"),
)
"""Ranges `[first_offset, next_offset)` that Kafka no longer held when the log writer came to them."""

projection_offset = Table(
    "projection_offset",
    metadata,
    Column("projection", _text(), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False, server_default=text("0")),
    Column("next_offset", BigInteger, nullable=False, server_default=text("0")),
    Column("absent", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("projection", "epoch", "partition", name="projection_offset_pkey"),
)
"""How far a projection has come: the fence of its writers. `first_offset` rises as days are dropped.

`absent` counts the offsets that Kafka passed without a record (control records, aborted ones). For the log
writer, per partition and from `first_offset` on: rows + void + quarantined + holes + absent =
next_offset - first_offset.
"""


def _unspent(name: str) -> Table:
    """What can be spent once: the SHA-256 of each, and whose it is, as JSON."""
    return Table(
        name,
        metadata,
        Column("hash", LargeBinary, nullable=False),
        Column("user", _text(), nullable=False),
        Column("claims", Text, nullable=False),
        Column("expires_at", DateTime(timezone=True), nullable=False),
        PrimaryKeyConstraint("hash", name=f"{name}_pkey"),
        Index(f"{name}_user", "user"),
        Index(f"{name}_expires_at", "expires_at"),
    )


ticket = _unspent("ticket")
"""Tickets that are not spent, each for one connection."""

sign_in_code = _unspent("sign_in_code")
"""Codes that are not spent, each for signing in to the console once."""

cursor = Table(
    "cursor",
    metadata,
    Column("user", _text(), nullable=False),
    Column("client_id", _text(), nullable=False),
    Column("position", _text(), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("moved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("user", "client_id", name="cursor_pkey"),
)
"""How far each client of a user has acknowledged its user channel; `client_id` is empty for those without a name."""


def _stamp(prefix: str, *, nullable: bool = False) -> list[Column[Any]]:
    """Which record said it: its epoch, time of appending (ms since 1970), partition and offset."""
    return [
        Column(f"{prefix}_epoch", Integer, nullable=nullable),
        Column(f"{prefix}_ms", BigInteger, nullable=nullable),
        Column(f"{prefix}_partition", Integer, nullable=nullable),
        Column(f"{prefix}_offset", BigInteger, nullable=nullable),
    ]


project = Table(
    "project",
    metadata,
    Column("id", _text(), nullable=False),
    Column("name", Text),
    Column("deleted", Boolean, nullable=False),
    Column("created", Boolean, nullable=False),
    *_stamp("since"),
    PrimaryKeyConstraint("id", name="project_pkey"),
)
"""Projects that were ever begun. These and the next two tables outlive epochs; the projection `rights` writes them."""

member = Table(
    "member",
    metadata,
    Column("project", _text(), nullable=False),
    Column("user", _text(), nullable=False),
    Column("role", _text()),
    *_stamp("since"),
    PrimaryKeyConstraint("project", "user", name="member_pkey"),
    Index("member_user", "user"),
)
"""The log's last word on a user in a project that is not deleted; without a role: removed."""

task = Table(
    "task",
    metadata,
    Column("id", _text(), nullable=False),
    Column("project", _text()),
    Column("user", _text()),
    Column("state", _text(), nullable=False),
    Column("started", Boolean, nullable=False),
    *_stamp("fixed"),
    *_stamp("changed", nullable=True),
    UniqueConstraint("id", "project", name="task_id_project_key", postgresql_nulls_not_distinct=True),
    Index("task_newest", "fixed_ms", "id"),
)
"""Tasks, a row for each project that records of one have named: nearly always one.

Where there are more, the row that counts is one that `started`, and of these the earliest.
"""

projection_hole = Table(
    "projection_hole",
    metadata,
    Column("projection", _text(), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("projection", "epoch", "partition", "first_offset", name="projection_hole_pkey"),
)
"""Ranges `[first_offset, next_offset)` that neither Kafka nor the log held any more when a projection came to them."""

runner = Table(
    "runner",
    metadata,
    Column("incarnation", _text(), nullable=False),
    Column("name", _text(), nullable=False),
    Column("renewal", BigInteger, nullable=False, server_default=text("0")),
    Column("begun_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("renewed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("lost_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("incarnation", name="runner_pkey"),
)
"""The leases of runners: who is not here, or has `lost_at`, holds none. `renewal` decides; the times are for people."""

task_claim = Table(
    "task_claim",
    metadata,
    Column("task", _text(), nullable=False),
    Column("runner", _text(), nullable=False),
    Column("command", _text(), nullable=False),
    Column("user", _text(), nullable=False),
    Column("project", _text()),
    Column("claimed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("task", name="task_claim_pkey"),
)
"""Which incarnation of a runner runs which task, or ran it."""

Index("task_claim_open", task_claim.c.runner, postgresql_where=task_claim.c.ended_at.is_(None))
Index("task_claim_ended", task_claim.c.ended_at, postgresql_where=task_claim.c.ended_at.is_not(None))

MIGRATIONS = Path(__file__).parents[3] / "migrations"

# Alembic keeps its context in globals of the process.
_one_in_a_process = threading.Lock()


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest schema. Blocks: from a running loop, call it in a thread.

    Several at once are fine, in threads or in processes: one does it and the others find it done.
    Raises LastseenError, which says what to do; HistoryUnavailable while the database does not answer.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = url
    try:
        with answering(), _one_in_a_process:
            command.upgrade(config, "head")
    except CommandError as error:
        raise LastseenError(
            f"the database's schema is not of this version of Lastseen ({error}): "
            "run the version that made it, or a newer one, or name another database"
        ) from error
    except SQLAlchemyError as error:
        raise LastseenError(
            f"the database could not be brought to the newest schema: {_said(error)}; nothing was changed"
        ) from error


def _said(error: SQLAlchemyError) -> str:
    """The database's own words, without the statement and whatever it holds."""
    return str(error.orig if isinstance(error, DBAPIError) else error).splitlines()[0]
