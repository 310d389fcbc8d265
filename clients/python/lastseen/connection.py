"""One WebSocket connection: opened, kept alive and watched, its messages handed on one by one."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic_core import from_json, to_json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from lastseen.errors import AuthenticationFailed, ProtocolError
from lastseen.notices import Message

SUBPROTOCOL: Final = "lastseen.v1"
OPEN_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
SILENCE: Final = 2.5
"""Heartbeats that may be missed before the connection counts as dead."""
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
MAX_UNSENT: Final = 1_000
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")


def websocket_url(url: str, query: dict[str, str]) -> str:
    """The address of the WebSocket of the service at `url` (http, https, ws or wss)."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a service: use http://HOST:PORT or https://HOST")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/ws", urlencode(query), ""))


def is_loopback(url: str) -> bool:
    """Whether the service is on this machine, where no proxy can reach it."""
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")


class Connection:
    """An open connection. `send` never waits; messages leave in the order of the calls."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._unsent: asyncio.Queue[Message] = asyncio.Queue(MAX_UNSENT)
        self._heartbeat = 30.0
        self._heard = 0.0
        self._handling = False
        self.dropped: str | None = None
        """Why this side gave the connection up, where it did."""

    def send(self, message: Message) -> None:
        """Send it when the socket takes it. A server that takes none for so long is given up as dead."""
        try:
            self._unsent.put_nowait(message)
        except asyncio.QueueFull:
            self.drop("the server reads nothing")

    def beat(self, seconds: float) -> None:
        """The server's heartbeat, as `connection_established` names it."""
        self._heartbeat = seconds

    async def run(self, handle: Callable[[Message, int], Awaitable[None]]) -> NoReturn:
        """Hand every message and its size to `handle`, waiting for it, until the connection closes.

        Raises ConnectionClosed when it does, ProtocolError, and what `handle` raises.
        """
        self._heard = asyncio.get_running_loop().time()
        senders = [asyncio.create_task(self._send_all()), asyncio.create_task(self._watch())]
        try:
            await self._read(handle)
        finally:
            for sender in senders:
                sender.cancel()
            for result in await asyncio.gather(*senders, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                    raise result

    async def _read(self, handle: Callable[[Message, int], Awaitable[None]]) -> NoReturn:
        clock = asyncio.get_running_loop().time
        while True:
            text = await self._socket.recv(decode=False)
            self._heard = clock()
            if self.dropped is not None:
                continue
            try:
                message: Any = from_json(text)
            except ValueError as error:
                raise ProtocolError(f"a message of the server is no JSON: {error}") from error
            if not isinstance(message, dict):
                raise ProtocolError(f"a message of the server is no object: {text[:200]!r}")
            self._handling = True
            await handle(message, len(text))
            self._handling = False
            self._heard = clock()

    async def _send_all(self) -> None:
        while True:
            await self._socket.send(to_json(await self._unsent.get()), text=True)

    async def _watch(self) -> None:
        """Shows the server that we live, and gives up a server that has been silent for too long."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self._heartbeat / 2)
            # While a consumer makes us wait the silence is ours, and the server still has to hear of us.
            if not self._handling and clock() - self._heard > SILENCE * self._heartbeat:
                self.drop(f"the server was silent for {SILENCE * self._heartbeat:g} s")
                return
            self.send({"type": "ping"})

    def drop(self, reason: str) -> None:
        """Give it up: what it still holds is not handed on, and `run` ends."""
        self.dropped = self.dropped or reason
        self._socket.transport.abort()


def connecting(url: str, token: str, query: dict[str, str]) -> connect:
    """What opens a connection when entered: an async context manager of a `ClientConnection`.

    Raises AuthenticationFailed for a token that no header could carry.
    """
    if not _JWT.fullmatch(token):
        raise AuthenticationFailed("the token is no JWT: three parts of A-Z a-z 0-9 - _ with dots between them")
    return connect(
        websocket_url(url, query),
        subprotocols=[Subprotocol(SUBPROTOCOL), Subprotocol(f"bearer.{token}")],
        compression=None,
        proxy=None if is_loopback(url) else True,
        max_size=MAX_MESSAGE_BYTES,
        open_timeout=OPEN_SECONDS,
        close_timeout=CLOSE_SECONDS,
        ping_interval=None,  # the protocol has heartbeats of its own, which a slow consumer doesn't hold up
    )
