"""uvicorn's HTTP, which does not wait for ever for what was begun to ask, and knows a short way to WebSocket."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

import h11
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.web.hand_shake import read_hand_shake
from service.web.transport import WebSocketTransport

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ShortWay(NamedTuple):
    """For plain hand-shakes: what carries the conversation, and whether one with such headers may be answered."""

    conversation: ASGIApp
    takes: Callable[[Sequence[tuple[bytes, bytes]]], bool]


class HttpTransport(H11Protocol):
    """Ends a connection on which no whole head of a request comes in time, a WebSocket's hand-shake included."""

    head_seconds: ClassVar[float] = 10.0
    short_way: ClassVar[ShortWay | None] = None
    _is_fresh = True
    """Whether nothing has come yet."""
    _deadline: asyncio.TimerHandle | None = None

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
        super().connection_lost(exc)

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
