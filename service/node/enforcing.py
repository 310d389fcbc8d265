"""Ending what a change of rights ends, on this node, at the record that says so."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from service.domain.rights import Change, ChangeKind
from service.node.connection import Connection
from service.node.connections import Connections
from service.node.rights import KnownRights

_RIGHTS: Final = "rights"
_PROJECT_DELETED: Final = "project_deleted"


class Affected(NamedTuple):
    """Subscriptions of a connection that have to be judged again."""

    connection: Connection
    channels: list[str]


class Enforcer:
    """Finds the subscriptions that a change touches and lets their connections judge them again."""

    def __init__(self, connections: Connections, known: KnownRights) -> None:
        self._connections = connections
        self._known = known

    def affected(self, change: Change) -> list[Affected]:
        """The subscriptions whose rights may have ended."""
        match change.kind:
            case ChangeKind.MEMBER if change.user is not None:
                return [
                    Affected(connection, [name for name in connection.subscriptions.channels if _is_of_project(name)])
                    for connection in self._connections.of_user(change.user)
                ]
            case ChangeKind.TASK:
                return self._watching([f"task:{change.task}"])
            case ChangeKind.PROJECT if change.project is not None and self._known.rights.is_deleted(change.project):
                return self._watching([f"project:{change.project}", *self._tasks_of(change.project)])
        return []

    def enforce(self, change: Change, affected: list[Affected]) -> None:
        """End those that have ended."""
        reason = _PROJECT_DELETED if change.kind is ChangeKind.PROJECT else _RIGHTS
        for connection, channels in affected:
            connection.judge_again(channels, reason)

    def _watching(self, channels: list[str]) -> list[Affected]:
        return [
            Affected(connection, [channel])
            for channel in channels
            for connection in self._connections.of_channel(channel)
        ]

    def _tasks_of(self, project: str) -> Iterator[str]:
        for channel in self._connections.channels:
            if channel.startswith("task:"):
                task = self._known.known(channel.removeprefix("task:"))
                # One that has been forgotten may be of this project.
                if task is None or task.project == project:
                    yield channel


def _is_of_project(channel: str) -> bool:
    return channel.startswith(("project:", "task:"))
