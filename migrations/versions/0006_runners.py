"""The leases of runners and the tasks that they have claimed.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text, time = sa.Text(collation="C"), sa.DateTime(timezone=True)
    op.create_table(
        "runner",
        sa.Column("incarnation", text, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("renewal", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("begun_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("renewed_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("lost_at", time),
        sa.PrimaryKeyConstraint("incarnation", name="runner_pkey"),
    )
    op.create_table(
        "task_claim",
        sa.Column("task", text, nullable=False),
        sa.Column("runner", text, nullable=False),
        sa.Column("command", text, nullable=False),
        sa.Column("user", text, nullable=False),
        sa.Column("project", text),
        sa.Column("claimed_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", time),
        sa.PrimaryKeyConstraint("task", name="task_claim_pkey"),
    )
    ended_at = sa.column("ended_at", time)
    op.create_index("task_claim_open", "task_claim", ["runner"], postgresql_where=ended_at.is_(None))
    op.create_index("task_claim_ended", "task_claim", ["ended_at"], postgresql_where=ended_at.is_not(None))


def downgrade() -> None:
    op.drop_table("task_claim")
    op.drop_table("runner")
