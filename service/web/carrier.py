"""What carries a connection of the node over a WebSocket: entered for the conversation, left behind its goodbye."""

from types import TracebackType
from typing import Final, Protocol, Self

from service.node.connection_port import ConnectionPort

GOODBYE_SECONDS: Final = 5.0
"""How long a client is given to take what was written to it, and the close frame behind that."""


class Carrier(ConnectionPort, Protocol):
    """A port that works while it is entered. Leaving it sends the close frame, if `close` was called."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
