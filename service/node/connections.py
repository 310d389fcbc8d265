"""The connections of one node, by what they are looked for."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from service.node.connection import Connection

K = TypeVar("K")


def _nothing(_: str) -> None:
    """Nobody wants to know."""


class Connections:
    """By id, by user, and by the channels that they have subscribed to, live or catching up."""

    def __init__(self, began: Callable[[str], None] = _nothing, ended: Callable[[str], None] = _nothing) -> None:
        """`began` and `ended` are told of each channel that gets its first subscription, or loses its last."""
        self._began = began
        self._ended = ended
        self._by_id: dict[str, Connection] = {}
        self._by_user: dict[str, set[Connection]] = {}
        self._by_channel: dict[str, set[Connection]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> "Iterator[Connection]":
        return iter(list(self._by_id.values()))

    @property
    def users(self) -> Collection[str]:
        """The users that are connected."""
        return self._by_user.keys()

    @property
    def channels(self) -> Collection[str]:
        """The channels that somebody has subscribed to."""
        return self._by_channel.keys()

    def add(self, connection: "Connection") -> None:
        """A client has come."""
        self._by_id[connection.id] = connection
        self._by_user.setdefault(connection.identity.user_id, set()).add(connection)

    def remove(self, connection: "Connection") -> bool:
        """A client has left; whether it was there."""
        if self._by_id.pop(connection.id, None) is None:
            return False
        _discard(self._by_user, connection.identity.user_id, connection)
        return True

    def watch(self, channel: str, connection: "Connection") -> None:
        """It has subscribed to a channel."""
        watching = self._by_channel.get(channel)
        if watching is None:
            watching = self._by_channel[channel] = set()
            self._began(channel)
        watching.add(connection)

    def unwatch(self, channel: str, connection: "Connection") -> None:
        """It has not, or no longer."""
        if _discard(self._by_channel, channel, connection):
            self._ended(channel)

    def of_user(self, user: str) -> "Iterable[Connection]":
        """The connections of a user."""
        return list(self._by_user.get(user, ()))

    def of_channel(self, channel: str) -> "Iterable[Connection]":
        """The connections that have subscribed to a channel."""
        return list(self._by_channel.get(channel, ()))


def _discard(index: "dict[K, set[Connection]]", key: K, connection: "Connection") -> bool:
    """Whether it was the last under this key."""
    found = index.get(key)
    if found is None:
        return False
    found.discard(connection)
    if found:
        return False
    del index[key]
    return True
