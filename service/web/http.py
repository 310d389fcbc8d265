"""uvicorn's HTTP, which waits for no client for ever, and knows a short way to WebSocket."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

import h11
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.web.hand_shake import read_hand_shake
from service.web.transport import WebSocketTransport

STALL_SECONDS: Final = "lastseen.stall_seconds"
"""In the state of a request's scope: how long its client may take nothing of the answer, where that is bounded."""
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ShortWay(NamedTuple):
    """For plain hand-shakes: what carries the conversation, and whether one with such headers may be answered."""

    conversation: ASGIApp
    takes: Callable[[Sequence[tuple[bytes, bytes]]], bool]


class HttpTransport(H11Protocol):
    """Ends a connection on which no whole head of a request comes in time, a WebSocket's hand-shake included.

    Drops one whose client takes nothing of a stream: merely closed, it would be held for as long as that client likes.
    """

    head_seconds: ClassVar[float] = 10.0
    short_way: ClassVar[ShortWay | None] = None
    _is_fresh = True
    """Whether nothing has come yet."""
    _deadline: asyncio.TimerHandle | None = None
    _stalling: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; what begins another request has its time from here on."""
        is_fresh, self._is_fresh = self._is_fresh, False
        if is_fresh and self.short_way is not None and self._takes(self.short_way, data):
            return
        super().data_received(data)
        self._wait_for_head()

    def _takes(self, way: ShortWay, head: bytes) -> bool:
        """Whether it was a plain hand-shake; then it has been answered, and the conversation is somebody else's."""
        asked = read_hand_shake(head)
        if asked is None or not way.takes(asked.headers):
            return False
        self._stop_waiting()
        self.connections.discard(self)
        protocol = WebSocketTransport(self.config, self.server_state, self.app_state)
        protocol.begin(self.transport, asked, way.conversation)
        self.transport.set_protocol(protocol)
        return True

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

    def _wait_for_head(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()


def http_transport(head_seconds: float, short_way: ShortWay | None = None) -> type[HttpTransport]:
    """The protocol with its deadline and its short way; uvicorn makes one for each connection."""
    return type("OurHttpTransport", (HttpTransport,), {"head_seconds": head_seconds, "short_way": short_way})
