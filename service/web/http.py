"""uvicorn's HTTP, which waits for no client for ever."""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

STALL_SECONDS: Final = "lastseen.stall_seconds"
"""In the state of a request's scope: how long its client may take nothing of the answer, where that is bounded."""
TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class HttpTransport(H11Protocol):
    """Ends a connection on which no whole head of a request comes in time, a WebSocket's hand-shake included.

    Drops one whose client takes nothing of a stream: merely closed, it would be held for as long as that client likes.
    """

    head_seconds: float = 10.0
    _deadline: asyncio.TimerHandle | None = None
    _stalling: asyncio.TimerHandle | None = None

    def first_received(self, data: bytes, seconds: float) -> None:
        """Take what came first; so much time is left for the rest of the head."""
        super().data_received(data)
        self._wait_for_head(seconds)

    def data_received(self, data: bytes) -> None:
        """Take what came; what begins another request has its time from here on."""
        super().data_received(data)
        self._wait_for_head(self.head_seconds)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The hand-shake is whole, and somebody else's from here on."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._stop_waiting()
        self._stop_stalling()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than is written."""
        super().pause_writing()
        seconds = self.scope["state"].get(STALL_SECONDS) if self.scope else None
        if seconds is not None and self._stalling is None:
            self._look_again(seconds)

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._stop_stalling()
        super().resume_writing()

    def _look_again(self, seconds: float) -> None:
        left = self.transport.get_write_buffer_size()
        self._stalling = self.loop.call_later(seconds, self._check_taken, seconds, left)

    def _check_taken(self, seconds: float, left: int) -> None:
        if self.transport.get_write_buffer_size() < left:
            self._look_again(seconds)
        else:
            self._stalling = None
            self.transport.abort()

    def _stop_stalling(self) -> None:
        if self._stalling is not None:
            self._stalling.cancel()
            self._stalling = None

    def _wait_for_head(self, seconds: float) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()
