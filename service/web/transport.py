"""uvicorn's WebSocket, for its hand-shake: then the conversation is handed over, where the application wants that.

Where it does not, all goes on by ASGI, with what the server itself does about clients that send nonsense.
"""

import asyncio
from typing import Final, cast

from lastseen import close_codes
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from service.node.node import Node
from service.web.admission import Admitted, Caller
from service.web.client_frames import Read
from service.web.direct_socket import DirectSocket
from service.web.door import Door
from service.web.dropping import drop_in
from service.web.host import Host

EXTENSION: Final = "lastseen.transport"
_LAST_WORDS_SECONDS: Final = 5.0
"""How long what is written may take to leave once the conversation has ended."""
_SHUTDOWN_SECONDS: Final = 0.5


class WebSocketTransport(WebSocketsSansIOProtocol):
    """Drops the connection a while after its end."""

    _dropping: asyncio.TimerHandle | None = None
    _is_lost = False

    def hand_over(self, node: Node, door: Door, caller: Caller, admitted: Admitted) -> None:
        """Let a conversation go on without the application, once its hand-shake has been answered."""
        heard: list[str | bytes] = []
        while not self.queue.empty():
            message = self.queue.get_nowait()
            if message["type"] == "websocket.receive":
                text = message.get("text")
                heard.append(text if text is not None else message.get("bytes") or b"")
        if self.transport.is_closing():
            # It was gone before the answer to its hand-shake: that nobody will complete that is no fault.
            self.handshake_complete = True
            admitted.guest.leave()
            return
        # Of what the server does with this protocol from here on nothing reaches the connection.
        transport, self.transport = self.transport, _Gone()
        self.connections.discard(self)
        if self.read_paused:
            transport.resume_reading()
        read = Read(self.conn, heard, self.frames, is_text=self.curr_msg_data_type == "text")
        socket = DirectSocket(Host(node, door, self.config.ws_max_size), self.connections, self.tasks)
        socket.begin(transport, caller, in_turn=False, admitted=admitted, read=read)

    def data_received(self, data: bytes) -> None:
        """Take it; the answer to a hand-shake that can't be read, such as one too long, is sent and ends it."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

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
        if not self._is_lost and not isinstance(self.transport, _Gone):
            self._dropping = drop_in(seconds, self.transport.abort, self._dropping, self.loop)


class _Gone(asyncio.Transport):
    """Stands for a transport that is somebody else's now."""

    def close(self) -> None:
        """Leave it to whom it belongs."""

    def is_closing(self) -> bool:
        """To who had it, it has closed."""
        return True
