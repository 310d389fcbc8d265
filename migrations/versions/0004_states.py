"""Indexes of the rows that the states of tasks and projects are made of.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TASK_TYPES = [
    "task_cancelled",
    "task_completed",
    "task_confirmation_required",
    "task_failed",
    "task_paused",
    "task_progress_update",
    "task_resumed",
    "task_started",
    "task_status_change",
    "task_timeout",
]
_PROJECT_TYPES = ["project_config_changed", "project_created", "project_updated"]


def upgrade() -> None:
    for kind, types in (("task", _TASK_TYPES), ("project", _PROJECT_TYPES)):
        op.create_index(
            f"log_{kind}_state",
            "log",
            [kind, "epoch", "partition", "offset"],
            postgresql_where=sa.and_(sa.column(kind).is_not(None), sa.column("type").in_(types)),
        )


def downgrade() -> None:
    for kind in ("project", "task"):
        op.drop_index(f"log_{kind}_state", "log")
