"""Why an epoch began, and what was lost when it did.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("epoch", sa.Column("reason", sa.Text(collation="C")))
    op.add_column("epoch", sa.Column("lost", JSONB()))
    op.add_column("epoch", sa.Column("announced_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    for column in ("announced_at", "lost", "reason"):
        op.drop_column("epoch", column)
