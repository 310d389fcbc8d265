"""Codes that sign in to the console once.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_in_code",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user", sa.Text(collation="C"), nullable=False),
        sa.Column("claims", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="sign_in_code_pkey"),
    )
    op.create_index("sign_in_code_user", "sign_in_code", ["user"])
    op.create_index("sign_in_code_expires_at", "sign_in_code", ["expires_at"])


def downgrade() -> None:
    op.drop_table("sign_in_code")
