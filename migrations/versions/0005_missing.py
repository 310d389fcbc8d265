"""Of quarantined records, the channels whose readers are told that they are missing.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("channels", sa.Text(collation="C")))
    op.create_index(
        "quarantine_told",
        "quarantine",
        ["epoch", "partition", "offset"],
        postgresql_where=sa.column("channels").is_not(None),
    )


def downgrade() -> None:
    op.drop_index("quarantine_told", "quarantine")
    op.drop_column("quarantine", "channels")
