"""Who a caller is, as a verified token says."""

from dataclasses import dataclass
from typing import Final

ADMIN_ROLES: Final = frozenset({"admin", "super_admin"})
SCOPE_PUBLISH: Final = "publish"
SCOPE_PUBLISH_RIGHTS: Final = "publish:rights"
SCOPE_CONSOLE: Final = "console"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and what the token grants. `expires_at` is in seconds since 1970."""

    user_id: str
    role: str
    projects: frozenset[str]
    scopes: frozenset[str]
    expires_at: int

    @property
    def is_admin(self) -> bool:
        """Whether the role grants everything."""
        return self.role in ADMIN_ROLES

    @property
    def may_publish(self) -> bool:
        """Whether the caller may append events."""
        return self.is_admin or SCOPE_PUBLISH in self.scopes

    @property
    def may_publish_rights(self) -> bool:
        """Whether the caller may append events that change who may read what."""
        return self.is_admin or SCOPE_PUBLISH_RIGHTS in self.scopes

    @property
    def may_go_on(self) -> bool:
        """Whether the caller may have further tokens for this one: by a code that signs in, or by renewal."""
        return SCOPE_CONSOLE in self.scopes
