"""What a connection asks of whatever carries it."""

from typing import Protocol


class ConnectionPort(Protocol):
    """What carries a connection."""

    def write(self, frames: bytes) -> None:
        """Send ready frames, in order; never waits."""
        ...

    def descriptor(self) -> int:
        """The socket's, on which frames may be sent now without overtaking anything; -1 where there is none.

        It holds until the port tells the connection (`waits`) that it is about to write, or to end: always before the
        descriptor is closed.
        """
        ...

    def buffered(self) -> int:
        """Bytes written that the network has not taken yet."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye behind what has been written."""
        ...

    def abort(self) -> None:
        """Drop the connection with what has been written."""
        ...
