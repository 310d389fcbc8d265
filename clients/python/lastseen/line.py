"""The present connection of a client, or none: where messages go."""

from dataclasses import dataclass

from lastseen.connection import Connection
from lastseen.notices import Message


@dataclass(slots=True)
class Line:
    """What is sent while there is no connection is dropped: a new one begins with all that is still wanted."""

    connection: Connection | None = None

    def send(self, message: Message) -> None:
        """Send it, if there is a connection."""
        if self.connection is not None:
            self.connection.send(message)

    def drop(self, reason: str) -> None:
        """Give the connection up, if there is one, and come back at once."""
        if self.connection is not None:
            self.connection.drop(reason)
