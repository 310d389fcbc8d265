"""Tickets that are not spent, how far clients have acknowledged, and the rights that the log gives.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ticket",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user", sa.Text(collation="C"), nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="ticket_pkey"),
    )
    op.create_index("ticket_user", "ticket", ["user"])
    op.create_index("ticket_expires_at", "ticket", ["expires_at"])
    op.create_table(
        "cursor",
        sa.Column("user", sa.Text(collation="C"), nullable=False),
        sa.Column("client_id", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("user", "client_id", name="cursor_pkey"),
    )
    op.create_index(
        "log_inbox",
        "log",
        ["user", "epoch", "partition", "offset"],
        postgresql_where=sa.and_(
            sa.column("user").is_not(None),
            sa.column("type").not_in(["task_output", "task_progress_update", "user_offline", "user_online"]),
        ),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Boolean(), nullable=False),
        sa.Column("since_epoch", sa.Integer(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("since_partition", sa.Integer(), nullable=False),
        sa.Column("since_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="project_pkey"),
    )
    op.create_table(
        "member",
        sa.Column("project", sa.Text(collation="C"), nullable=False),
        sa.Column("user", sa.Text(collation="C"), nullable=False),
        sa.Column("role", sa.Text(collation="C")),
        sa.Column("since_epoch", sa.Integer(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("since_partition", sa.Integer(), nullable=False),
        sa.Column("since_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "user", name="member_pkey"),
    )
    op.create_index("member_user", "member", ["user"])
    op.create_table(
        "task",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("project", sa.Text(collation="C")),
        sa.Column("user", sa.Text(collation="C")),
        sa.Column("state", sa.Text(collation="C"), nullable=False),
        sa.Column("started", sa.Boolean(), nullable=False),
        sa.Column("fixed_epoch", sa.Integer(), nullable=False),
        sa.Column("fixed_ms", sa.BigInteger(), nullable=False),
        sa.Column("fixed_partition", sa.Integer(), nullable=False),
        sa.Column("fixed_offset", sa.BigInteger(), nullable=False),
        sa.Column("changed_epoch", sa.Integer()),
        sa.Column("changed_ms", sa.BigInteger()),
        sa.Column("changed_partition", sa.Integer()),
        sa.Column("changed_offset", sa.BigInteger()),
        sa.UniqueConstraint("id", "project", name="task_id_project_key", postgresql_nulls_not_distinct=True),
    )
    op.create_index("task_newest", "task", ["fixed_ms", "id"])
    op.create_table(
        "projection_hole",
        sa.Column("projection", sa.Text(collation="C"), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("projection", "epoch", "partition", "first_offset", name="projection_hole_pkey"),
    )
    # Of the tasks there is a projection now.
    op.drop_index("log_ended", "log")


def downgrade() -> None:
    op.create_index(
        "log_ended",
        "log",
        ["task"],
        postgresql_where=sa.column("type").in_(["task_cancelled", "task_completed", "task_failed", "task_timeout"]),
    )
    op.drop_index("log_inbox", "log")
    for table in ("projection_hole", "task", "member", "project", "cursor", "ticket"):
        op.drop_table(table)
