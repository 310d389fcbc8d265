"""uvicorn's WebSocket, hardened against clients that take nothing or send nonsense, and open to ready frames."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from lastseen import close_codes
from starlette.types import ASGIApp
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from service.domain.protocol import GOODBYES, SUBPROTOCOL, Input
from service.web.hand_shake import PATH, HandShake

EXTENSION: Final = "lastseen.transport"
_LAST_WORDS_SECONDS: Final = 5.0
"""How long what is written may take to leave once the conversation has ended."""
_SHUTDOWN_SECONDS: Final = 0.5
_LINGER_SECONDS: Final = 1.0
"""How long what still comes of a client is thrown away, for it to see why."""
_PART: Final = 4096
_READ_AFTER_CLOSE: Final = 256 * 1024
"""Bytes behind which the answer to a close may come; after more of them it is not waited for."""
_FRAMES_PER_SECOND: Final = 50
_FRAMES_AT_ONCE: Final = 1000
"""Pings, pongs and pieces of messages that a client may send, in the long run and at once."""
_UNREAD_ANSWERS: Final = 64 * 1024
"""Bytes that wait in the transport at which pings are not answered any more."""


class WebSocketTransport(WebSocketsSansIOProtocol):
    """Drops the connection a while after its end.

    A transport that is merely closed waits for the client to take what is buffered: for one that has stopped
    reading it would be held, with its descriptor, for as long as that client likes.
    """

    _dropping: asyncio.TimerHandle | None = None
    _is_lost = False
    _drained: Callable[[], None] | None = None
    _is_over = False
    """Whether what comes is of no interest any more."""
    _read_after_close = 0
    _quiet_at = 0.0
    """When the frames that were no messages will have been paid for, by the loop's clock."""

    def begin(self, transport: asyncio.Transport, asked: HandShake, conversation: ASGIApp) -> None:
        """Answer a hand-shake that another has read, and run the conversation."""
        self.connection_made(transport)
        # What is left of the protocol behind its hand-shake, which is all that is asked of it.
        self.conn = cast(ServerProtocol, Protocol(Side.SERVER, state=State.OPEN, max_size=self.config.ws_max_size))
        self.handshake_initiated = self.handshake_complete = True
        self.transport.write(asked.answer(SUBPROTOCOL if SUBPROTOCOL in asked.subprotocols else None))
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": "",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": asked.query,
            "headers": asked.headers,
            "subprotocols": asked.subprotocols,
            "state": {},
            "extensions": cast(dict[str, dict[object, object]], {EXTENSION: self}),
        }
        self.app = conversation
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    def data_received(self, data: bytes) -> None:
        """Take what came, until it has become too much."""
        # In parts: of some bytes thousands of frames can be made, and what follows a close need not be read.
        for at in range(0, len(data), _PART):
            if self.transport.is_closing():
                return
            if self.close_sent:
                self._read_after_close += _PART
                if self._read_after_close > _READ_AFTER_CLOSE:
                    self.transport.pause_reading()
                    self._drop_in(_SHUTDOWN_SECONDS)
                    return
            if not self._is_over:
                self._take(data[at : at + _PART])

    def _take(self, data: bytes) -> None:
        """Take a part; the answer to a hand-shake that can't be read, such as one too long, is sent and ends it."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_parser_exception(self) -> None:
        """Close behind what breaks the protocol, so that the client sees the code though it is still sending.

        A socket that is closed with something unread in it is reset, and what was said last is lost with it.
        """
        if not self.transport.can_write_eof():
            super().handle_parser_exception()
            return
        assert self.conn.close_sent is not None
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self._is_over = True
        self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def handle_connect(self, event: Request) -> None:
        """Take the hand-shake on; the application finds this protocol among the extensions of its scope."""
        super().handle_connect(event)
        if not self.handshake_complete:
            extensions = cast(dict[str, object], self.scope["extensions"])
            extensions[EXTENSION] = self

    async def send(self, message: ASGISendEvent) -> None:
        """Send; with the whole of an HTTP answer a hand-shake that was refused is over, and no fault."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def watch_buffer(self, low_water: int, drained: Callable[[], None]) -> None:
        """From now on call `drained` whenever the bytes waiting in the transport have fallen to `low_water`."""
        self._drained = drained
        # One mark: between two the transport would say nothing to who waits for the lower.
        self.transport.set_write_buffer_limits(high=low_water, low=low_water)

    def resume_writing(self) -> None:
        """The buffer has fallen to the mark."""
        super().resume_writing()
        if self._drained is not None:
            self._drained()

    async def run_asgi(self) -> None:
        """Run the conversation, and begin to count at its end."""
        try:
            await super().run_asgi()
        finally:
            # The scope names this protocol, which has the scope: each conversation would wait for the collector.
            cast(dict[str, object], self.scope["extensions"]).pop(EXTENSION, None)
            self._drop_in(_LAST_WORDS_SECONDS)

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; one that is not UTF-8 ends the connection, and is no news for the log."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(close_codes.NOT_UTF8)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_cont(self, event: Frame) -> None:
        """Take a piece of a message."""
        if event.fin or self._may_still_come():
            super().handle_cont(event)

    def handle_pong(self, event: Frame) -> None:
        """Pass over it: this server sends no pings of this kind."""
        self._may_still_come()

    def handle_ping(self) -> None:
        """Answer a ping, unless the client lets the answers pile up: then only later ones are answered."""
        answer = b"".join(self.conn.data_to_send())
        if self._may_still_come() and self.transport.get_write_buffer_size() < _UNREAD_ANSWERS:
            self.transport.write(answer)

    def _may_still_come(self) -> bool:
        """Whether one more frame that is no message, nor the end of one, may come; else the conversation ends.

        It costs as much as a message, and nobody counts it as one.
        """
        if self.close_sent or self.transport.is_closing():
            return False
        now = self.loop.time()
        self._quiet_at = max(self._quiet_at, now) + 1 / _FRAMES_PER_SECOND
        if self._quiet_at - now <= _FRAMES_AT_ONCE / _FRAMES_PER_SECOND:
            return True
        self.frames = []
        self.conn.send_close(*GOODBYES[Input.LIMIT_PASSED])
        self.handle_parser_exception()
        return False

    def shutdown(self) -> None:
        """The process is about to end."""
        super().shutdown()
        self._drop_in(_SHUTDOWN_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._is_lost = True
        if self._dropping is not None:
            self._dropping.cancel()
        super().connection_lost(exc)

    def _drop_in(self, seconds: float) -> None:
        """Drop it then, unless that is to happen sooner already."""
        at = self.loop.time() + seconds
        if self._is_lost or (self._dropping is not None and self._dropping.when() <= at):
            return
        if self._dropping is not None:
            self._dropping.cancel()
        self._dropping = self.loop.call_at(at, self.transport.abort)
