"""The names that the protocol fixes: categories, event types and what they imply."""

from enum import StrEnum
from typing import Final


class Category(StrEnum):
    """What an event is about; it decides the channels that carry it."""

    TASK = "task"
    PROJECT = "project"
    SYSTEM = "system"
    USER = "user"


class Role(StrEnum):
    """What a member may do in a project: an owner or member also act on its tasks, a viewer only reads."""

    OWNER = "owner"
    MEMBER = "member"
    VIEWER = "viewer"


class TaskEvents(StrEnum):
    """The named types of task events."""

    STARTED = "task_started"
    PROGRESS_UPDATE = "task_progress_update"
    OUTPUT = "task_output"
    CONFIRMATION_REQUIRED = "task_confirmation_required"
    PAUSED = "task_paused"
    RESUMED = "task_resumed"
    COMPLETED = "task_completed"
    FAILED = "task_failed"
    CANCELLED = "task_cancelled"
    TIMEOUT = "task_timeout"
    STATUS_CHANGE = "task_status_change"
    COMMAND = "task_command"
    SCREEN = "task_screen"


class ProjectEvents(StrEnum):
    """The named types of project events."""

    CREATED = "project_created"
    UPDATED = "project_updated"
    DELETED = "project_deleted"
    MEMBER_ADDED = "project_member_added"
    MEMBER_REMOVED = "project_member_removed"
    GIT_SYNC = "project_git_sync"
    CONFIG_CHANGED = "project_config_changed"


class SystemEvents(StrEnum):
    """The named types of system events."""

    MAINTENANCE_START = "system_maintenance_start"
    MAINTENANCE_END = "system_maintenance_end"
    SERVICE_DISRUPTION = "system_service_disruption"
    PERFORMANCE_ALERT = "system_performance_alert"
    SECURITY_ALERT = "system_security_alert"


class UserEvents(StrEnum):
    """The named types of user events."""

    ONLINE = "user_online"
    OFFLINE = "user_offline"
    NOTIFICATION = "user_notification"
    ACTION = "user_action"


# Plain texts: what is looked up and written is the name, not the member.
TASK_TYPES: Final = frozenset(name.value for name in TaskEvents)
PROJECT_TYPES: Final = frozenset(name.value for name in ProjectEvents)
SYSTEM_TYPES: Final = frozenset(name.value for name in SystemEvents)
USER_TYPES: Final = frozenset(name.value for name in UserEvents)

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
"""Their `data.user_id` is the member, `data.role` a Role; the event's own `user_id` is who did it."""

PRESENCE_TYPES: Final = frozenset({"user_online", "user_offline"})

LEFT_OUT_OFFLINE: Final = frozenset({"task_output", "task_progress_update", "task_screen"}) | PRESENCE_TYPES
"""Not among a user's offline messages: they belong to their task, or to their moment."""

TASK_STATE_TYPES: Final = TASK_TYPES - {"task_output", "task_command"}
"""What may say something of a task's state, its progress and screen included: all but the floods and the receipts."""

PROJECT_STATE_TYPES: Final = frozenset({"project_created", "project_updated", "project_config_changed"})
"""Their `data` is what a project is like."""

RIGHTS_TYPES: Final = frozenset({"project_created", "project_deleted"}) | MEMBERSHIP_TYPES
"""Types that change who may read what: they need the scope `publish:rights`."""

BROADCAST_PRIORITY: Final = 8
"""System events of at least this priority reach everyone."""
