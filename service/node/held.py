"""What this node holds: its users' connections, counted for presence."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice

from service.domain.presence_records import Holding


@dataclass(slots=True)
class _User:
    connections: int
    number: int
    project: str | None


class Held:
    """Connections by user, and whose count has yet to be told. Each call is O(1) and does no I/O.

    The untold are bounded by the users that came or left since they were last told: one entry a user.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._user_of: dict[str, str] = {}
        self._users: dict[str, _User] = {}
        self._number = 0
        self._untold: dict[str, None] = {}

    def __contains__(self, connection_id: str) -> bool:
        return connection_id in self._user_of

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._user_of)

    @property
    def users(self) -> Collection[str]:
        """The users who have one."""
        return self._users.keys()

    @property
    def has_untold(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._untold)

    def connected(self, connection_id: str, user: str, project: str | None) -> None:
        """A connection has been admitted. Said again it changes nothing."""
        if connection_id in self._user_of:
            return
        self._user_of[connection_id] = user
        held = self._users.get(user)
        if held is None:
            self._number += 1
            self._users[user] = _User(1, self._number, project)
        else:
            held.connections += 1
        self._tell(user)

    def disconnected(self, connection_id: str) -> None:
        """A connection has ended; one that was never admitted changes nothing."""
        user = self._user_of.pop(connection_id, None)
        if user is None:
            return
        held = self._users[user]
        held.connections -= 1
        if held.connections == 0:
            del self._users[user]
        self._tell(user)

    def holding(self, incarnation: str, user: str) -> Holding | None:
        """What is held of a user now."""
        held = self._users.get(user)
        if held is None:
            return None
        return Holding(incarnation, user, held.connections, held.number, held.project)

    def take_untold(self, limit: int) -> list[str]:
        """Users to be told of now."""
        users = list(islice(self._untold, limit))
        for user in users:
            del self._untold[user]
        return users

    def untold_again(self, users: list[str]) -> None:
        """They could not be told."""
        self._untold |= dict.fromkeys(users)

    def tell_again(self, user: str) -> None:
        """Tell anew of a user who is held, as of one who has come again."""
        held = self._users.get(user)
        if held is not None:
            self._number += 1
            held.number = self._number
            self._tell(user)

    def tell_all(self) -> None:
        """Tell of everybody anew."""
        self._untold = dict.fromkeys(self._users)
        self._changed()

    def _tell(self, user: str) -> None:
        self._untold[user] = None
        self._changed()
