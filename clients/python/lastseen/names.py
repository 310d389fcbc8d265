"""The names that the protocol fixes: categories, event types and what they imply."""

from enum import StrEnum
from typing import Final


class Category(StrEnum):
    """What an event is about; it decides the channels that carry it."""

    TASK = "task"
    PROJECT = "project"
    SYSTEM = "system"
    USER = "user"


TASK_TYPES: Final = frozenset(
    {
        "task_started",
        "task_progress_update",
        "task_output",
        "task_confirmation_required",
        "task_paused",
        "task_resumed",
        "task_completed",
        "task_failed",
        "task_cancelled",
        "task_timeout",
        "task_status_change",
        "task_command",
    }
)
PROJECT_TYPES: Final = frozenset(
    {
        "project_created",
        "project_updated",
        "project_deleted",
        "project_member_added",
        "project_member_removed",
        "project_git_sync",
        "project_config_changed",
    }
)
SYSTEM_TYPES: Final = frozenset(
    {
        "system_maintenance_start",
        "system_maintenance_end",
        "system_service_disruption",
        "system_performance_alert",
        "system_security_alert",
    }
)
USER_TYPES: Final = frozenset({"user_online", "user_offline", "user_notification", "user_action"})

CATEGORY_OF: Final[dict[str, Category]] = {
    **dict.fromkeys(TASK_TYPES, Category.TASK),
    **dict.fromkeys(PROJECT_TYPES, Category.PROJECT),
    **dict.fromkeys(SYSTEM_TYPES, Category.SYSTEM),
    **dict.fromkeys(USER_TYPES, Category.USER),
}
"""The category that each named type has; any other type says its own."""

TERMINAL_TYPES: Final = frozenset({"task_completed", "task_failed", "task_cancelled", "task_timeout"})
"""After one of these a task's later records are void (fenced)."""

MEMBERSHIP_TYPES: Final = frozenset({"project_member_added", "project_member_removed"})
"""Their `data.user_id` is the member; the event's own `user_id` is who did it."""

PRESENCE_TYPES: Final = frozenset({"user_online", "user_offline"})

RIGHTS_TYPES: Final = frozenset({"project_created", "project_deleted"}) | MEMBERSHIP_TYPES
"""Types that change who may read what: they need the scope `publish:rights`."""

BROADCAST_PRIORITY: Final = 8
"""System events of at least this priority reach everyone."""
