"""The log, its days, what is not in it and why, and how far its writers have come.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "epoch",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("topic_id", sa.Uuid(), nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("number", name="epoch_pkey"),
        sa.UniqueConstraint("name", name="epoch_name_key"),
    )
    op.create_table(
        "log",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("bucket", sa.Date(), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.Text(collation="C"), nullable=False),
        sa.Column("appended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ttl", sa.BigInteger()),
        sa.Column("task", sa.Text(collation="C")),
        sa.Column("project", sa.Text(collation="C")),
        sa.Column("user", sa.Text(collation="C")),
        sa.Column("system", sa.Boolean(), nullable=False),
        sa.Column("broadcast", sa.Boolean(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "partition", "offset", "bucket", name="log_pkey"),
        postgresql_partition_by="RANGE (bucket)",
    )
    for kind in ("task", "project", "user"):
        op.create_index(
            f"log_{kind}",
            "log",
            [kind, "epoch", "partition", "offset"],
            postgresql_where=sa.column(kind).is_not(None),
        )
    for kind in ("system", "broadcast"):
        op.create_index(f"log_{kind}", "log", ["epoch", "partition", "offset"], postgresql_where=sa.column(kind))
    op.create_index(
        "log_ended",
        "log",
        ["task"],
        postgresql_where=sa.column("type").in_(["task_cancelled", "task_completed", "task_failed", "task_timeout"]),
    )
    op.create_table(
        "log_bucket",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.Date(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("last_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "partition", "bucket", name="log_bucket_pkey"),
    )
    op.create_table(
        "void",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("why", sa.Text(collation="C"), nullable=False),
        sa.Column("ended_task", sa.Text(collation="C")),
        sa.PrimaryKeyConstraint("epoch", "partition", "offset", name="void_pkey"),
    )
    op.create_table(
        "quarantine",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(collation="C"), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(collation="C")),
        sa.Column("ended_task", sa.Text(collation="C")),
        sa.Column("key", sa.LargeBinary()),
        sa.Column("value", sa.LargeBinary()),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("appended_at", sa.DateTime(timezone=True)),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("epoch", "partition", "offset", name="quarantine_pkey"),
    )
    op.create_table(
        "hole",
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(collation="C"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("epoch", "partition", "first_offset", name="hole_pkey"),
    )
    op.create_table(
        "projection_offset",
        sa.Column("projection", sa.Text(collation="C"), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("next_offset", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("absent", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("projection", "epoch", "partition", name="projection_offset_pkey"),
    )


def downgrade() -> None:
    for table in ("projection_offset", "hole", "quarantine", "void", "log_bucket", "log", "epoch"):
        op.drop_table(table)
