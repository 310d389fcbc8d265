"""What meets a connection first: it reads who comes, and hands on.

A crowd comes faster than it can be served. So that the servers' queue of connections never runs over (then the kernel
lets clients wait for seconds), a plain hand-shake is only put in line here, and its conversation begins in its turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import parse_qsl

from starlette.datastructures import Address, Headers
from uvicorn.config import Config
from uvicorn.server import ServerState

from service.domain.protocol import SUBPROTOCOL
from service.web.admission import Caller
from service.web.direct_socket import DirectSocket
from service.web.hand_shake import MOST_BYTES, PATH, HandShake, read_hand_shake
from service.web.host import Host
from service.web.http import TOO_SLOW, HttpTransport

_PLAIN: Final = f"GET {PATH}".encode()
_END: Final = b"\r\n\r\n"


class ShortWay(NamedTuple):
    """For plain hand-shakes: whose conversations they begin, whether one with such headers may be answered, and when.

    `in_turn` calls what it is given, soon and once.
    """

    host: Host
    takes: Callable[[Sequence[tuple[bytes, bytes]]], bool]
    in_turn: Callable[[Callable[[], None]], None]


class Reception(asyncio.Protocol):
    """One connection until its first bytes have come: then it is a conversation's, or HTTP's.

    Ends one of which nothing comes in time. uvicorn makes one for each connection.
    """

    __slots__ = ("_app_state", "_config", "_deadline", "_head", "_loop", "_server_state", "_transport")

    head_seconds: ClassVar[float] = 10.0
    short_way: ClassVar[ShortWay | None] = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head = b""
        """What has come of a hand-shake that waits for its turn."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first bytes."""
        self._transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._deadline = self._loop.call_later(self.head_seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._head:
            # It has said more than its hand-shake: no plain one, as will be seen.
            self._head += data
            if len(self._head) > MOST_BYTES:
                self._go_the_long_way()
        elif self.short_way is not None and data.startswith(_PLAIN) and data.endswith(_END):
            self._head = data
            self._stop_waiting()
            self.short_way.in_turn(self._take_turn)
        else:
            self._head = data
            self._go_the_long_way()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._stop_waiting()
        self._leave()

    def shutdown(self) -> None:
        """The process is about to end."""
        if self._transport is not None:
            self._transport.close()

    def _take_turn(self) -> None:
        transport, way = self._transport, self.short_way
        if transport is None or way is None or transport.is_closing():
            return
        asked = read_hand_shake(self._head)
        if asked is None or not way.takes(asked.headers):
            self._go_the_long_way()
            return
        self._leave()
        answer = asked.answer(SUBPROTOCOL if SUBPROTOCOL in asked.subprotocols else None)
        carrier = DirectSocket(way.host, self._server_state.connections, self._server_state.tasks)
        carrier.begin(transport, _caller(asked, transport), in_turn=True, answer=answer)

    def _go_the_long_way(self) -> None:
        """Let HTTP have it, with what has come."""
        transport, head = self._transport, self._head
        assert transport is not None, "something came of it"
        left = self.head_seconds if self._deadline is None else self._deadline.when() - self._loop.time()
        self._stop_waiting()
        self._leave()
        protocol = HttpTransport(self._config, self._server_state, self._app_state)
        protocol.head_seconds = self.head_seconds
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.first_received(head, left)

    def _leave(self) -> None:
        self._transport = None
        self._server_state.connections.discard(self)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(TOO_SLOW)
            self._transport.close()


def reception(head_seconds: float, short_way: ShortWay | None = None) -> type[Reception]:
    """The protocol with its deadline and its short way."""
    return type("OurReception", (Reception,), {"__slots__": (), "head_seconds": head_seconds, "short_way": short_way})


def _caller(asked: HandShake, transport: asyncio.Transport) -> Caller:
    peer = transport.get_extra_info("peername")
    headers = Headers(raw=asked.headers)
    return Caller(_read_query(asked.query), headers, asked.subprotocols, Address(*peer[:2]) if peer else None)


def _read_query(query: bytes) -> dict[str, str]:
    text = query.decode("latin-1")
    if "%" in text or "+" in text:
        return dict(parse_qsl(text, keep_blank_values=True))
    # The same where nothing stands for something else.
    parts = (part.partition("=") for part in text.split("&") if part)
    return {name: value for name, _, value in parts}
