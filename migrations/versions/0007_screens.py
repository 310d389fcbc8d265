"""The screens of terminals: not among offline messages, and found as what states are made of is.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_LEFT_OUT = ["task_output", "task_progress_update", "user_offline", "user_online"]
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
_SCREEN = ["task_screen"]


def _index(left_out: list[str], task_types: list[str]) -> None:
    place = ["epoch", "partition", "offset"]
    for name, column, types in (
        ("log_inbox", "user", sa.column("type").not_in(sorted(left_out))),
        ("log_task_state", "task", sa.column("type").in_(sorted(task_types))),
    ):
        op.drop_index(name, "log")
        op.create_index(name, "log", [column, *place], postgresql_where=sa.and_(sa.column(column).is_not(None), types))


def upgrade() -> None:
    _index(_LEFT_OUT + _SCREEN, _TASK_TYPES + _SCREEN)


def downgrade() -> None:
    _index(_LEFT_OUT, _TASK_TYPES)
