"""The quarantine, read from its newest records back.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("quarantine_newest", "quarantine", ["at", "epoch", "partition", "offset"])


def downgrade() -> None:
    op.drop_index("quarantine_newest", "quarantine")
