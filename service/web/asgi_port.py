"""A connection carried by any ASGI server's WebSocket: what is written waits in an outbox for one sender."""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from service.domain.frames import payloads
from service.web.carrier import GOODBYE_SECONDS


class AsgiPort:
    """The outbox of one WebSocket, emptied by a task that lives as long as this is entered.

    Its bound is the node's: live subscriptions fall behind and replays wait once `buffered` passes the
    high-water mark, so what can still be added is one step's frames and the answers to one request.
    """

    def __init__(
        self, websocket: WebSocket, low_water: int, drained: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        self._websocket = websocket
        self._low_water = low_water
        self._drained = drained
        self._ending = ending
        self._outbox: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._close: tuple[int, str] | None = None
        self._aborted = False
        self._sending: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send_all(), name="send")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._close is not None:
            await asyncio.wait([self._sending], timeout=GOODBYE_SECONDS)
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)

    def write(self, frames: bytes) -> None:
        """Put ready frames into the outbox."""
        if self._close is None and not self._aborted:
            self._outbox.append(frames)
            self._bytes += len(frames)
            self._wake.set()

    def descriptor(self) -> int:
        """None: the socket is the server's."""
        return -1

    def buffered(self) -> int:
        """Bytes in the outbox."""
        return self._bytes

    def close(self, code: int, reason: str) -> None:
        """Close behind what is in the outbox."""
        if self._close is None:
            self._close = (code, reason)
            self._wake.set()
            self._ending()

    def abort(self) -> None:
        """Drop what is in the outbox and end."""
        self._aborted = True
        self._outbox.clear()
        self._bytes = 0
        self._wake.set()
        self._drained()
        self._ending()

    async def _send_all(self) -> None:
        """Send until closed, aborted or the client is gone."""
        try:
            while not self._aborted:
                while self._outbox:
                    frames = self._outbox.popleft()
                    for payload in payloads(frames):
                        await self._websocket.send({"type": "websocket.send", "text": payload.decode()})
                    self._bytes = max(self._bytes - len(frames), 0)
                    if self._bytes <= self._low_water:
                        self._drained()
                if self._close is not None:
                    break
                self._wake.clear()
                await self._wake.wait()
            if self._close is not None and self._websocket.application_state is WebSocketState.CONNECTED:
                await self._websocket.close(*self._close)
        except (WebSocketDisconnect, OSError, RuntimeError):
            # The client is gone (RuntimeError: Starlette's word for a send after that); the reader ends too.
            self.abort()
