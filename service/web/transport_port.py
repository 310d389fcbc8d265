"""A connection carried by the server's own transport: ready frames are written as they are."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.web.carrier import GOODBYE_SECONDS
from service.web.transport import WebSocketTransport


class TransportPort:
    """Writes frames past the ASGI interface, which would take them apart and send one message at a time.

    Hand-shake, pings, closing and everything received stay the server's. Both write to the same transport, so
    the order of bytes is the order of the calls.
    """

    def __init__(
        self,
        websocket: WebSocket,
        protocol: WebSocketTransport,
        low_water: int,
        drained: Callable[[], None],
        ending: Callable[[], None],
    ) -> None:
        self._websocket = websocket
        self._protocol = protocol
        self._transport = protocol.transport
        self._ending = ending
        self._close: tuple[int, str] | None = None
        protocol.watch_buffer(low_water, drained)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._close is None or self._protocol.disconnected:
            return
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._websocket.close(*self._close)
        except (TimeoutError, WebSocketDisconnect, OSError, RuntimeError):
            # It did not take what was written, or has gone (RuntimeError is Starlette's word for that).
            self._transport.abort()

    def write(self, frames: bytes) -> None:
        """Hand ready frames to the transport."""
        if self._close is None and not self._protocol.close_sent and not self._transport.is_closing():
            self._transport.write(frames)

    def buffered(self) -> int:
        """Bytes that wait in the transport."""
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Close behind what was written."""
        if self._close is None:
            self._close = (code, reason)
            self._ending()

    def abort(self) -> None:
        """Drop what waits in the transport, and the connection."""
        self._transport.abort()
        self._ending()
