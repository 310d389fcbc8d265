"""Tickets that are not spent, and how far clients have acknowledged.

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


def downgrade() -> None:
    for table in ("cursor", "ticket"):
        op.drop_table(table)
