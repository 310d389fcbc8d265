"""`GET /ws`: the WebSocket that carries a connection of the node."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from fastapi import APIRouter, WebSocket
from lastseen import close_codes
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketState

from service.domain.errors import Denied, LastseenError, TooMany, Unavailable
from service.domain.identity import Identity
from service.domain.limits import Guest
from service.domain.protocol import SUBPROTOCOL, Input
from service.node.connection import Connection
from service.node.node import Node
from service.node.opening import open_conversation
from service.settings import Settings
from service.web.asgi_port import AsgiPort
from service.web.carrier import Carrier
from service.web.credentials import given
from service.web.door import Door
from service.web.problems import Problem
from service.web.transport import EXTENSION, WebSocketTransport
from service.web.transport_port import TransportPort

_log = logging.getLogger(__name__)
_AT_ONCE = 0.0
"""A time of the loop's clock that has passed."""

router = APIRouter()


class _Refused(NamedTuple):
    """Why nobody is let in."""

    code: int
    reason: str


@router.get("/ws", include_in_schema=False)
async def without_upgrade() -> None:
    """Say what this address is for."""
    raise Problem(
        426,
        "this address takes WebSockets: ask with Upgrade: websocket",
        code="upgrade_required",
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )


@router.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    """Accept, identify, and carry the conversation until either side ends it."""
    # Accepted first and closed then: before that a browser would not see the code.
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    await _converse_with(socket, socket.app.state.node, socket.app.state.door)


def conversation(node: Node, door: Door) -> ASGIApp:
    """What carries a conversation whose hand-shake has been answered before the application heard of it."""

    async def converse(scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        socket.client_state = socket.application_state = WebSocketState.CONNECTED
        await _converse_with(socket, node, door, in_turn=True)

    return converse


async def _converse_with(socket: WebSocket, node: Node, door: Door, *, in_turn: bool = False) -> None:
    """With `in_turn`, it has had its turn among others that begin."""
    admitted = await _admit(socket, door)
    if isinstance(admitted, _Refused):
        await socket.close(*admitted)
        return
    guest = door.enter(admitted, socket.client)
    if isinstance(guest, str):
        await socket.close(close_codes.TOO_MANY, guest)
        return
    try:
        await _carry(socket, node, admitted, guest, in_turn=in_turn)
    finally:
        guest.leave()


async def _admit(socket: WebSocket, door: Door) -> "Identity | _Refused":
    """Who it is, or code and reason of the close."""
    if not door.lets_page(socket.headers):
        return _Refused(close_codes.POLICY, "Origin not allowed")
    known_by = given(socket.scope.get("subprotocols", []), socket.headers, socket.query_params)
    if known_by is None or not known_by.text:
        return _Refused(close_codes.POLICY, close_codes.AUTHENTICATION_REQUIRED)
    try:
        return await door.identify(known_by, socket.client)
    except Denied:
        return _Refused(close_codes.POLICY, close_codes.INVALID_TOKEN)
    except TooMany as error:
        return _Refused(close_codes.TOO_MANY, str(error))
    except Unavailable:
        return _Refused(close_codes.TRY_AGAIN_LATER, "Identity not known now")


async def _carry(socket: WebSocket, node: Node, identity: Identity, guest: Guest, *, in_turn: bool) -> None:
    """Carry the conversation until either side ends it."""
    connection: Connection | None = None
    conversation = asyncio.timeout(None)
    is_conversing = False

    def drained() -> None:
        if connection is not None:
            connection.drained()

    def end() -> None:
        if connection is not None:
            connection.gone()
        # Before it begins, and once it is ending, there is nothing to cut short.
        if is_conversing and not conversation.expired():
            conversation.reschedule(_AT_ONCE)

    port = _carrier(socket, node.services.settings, node.services.low_water, drained, end)
    connection = node.connect(port, identity)
    if connection is None:
        await socket.close(close_codes.TOO_MANY, "Too many connections")
        return
    try:
        async with port:
            try:
                async with conversation:
                    is_conversing = True
                    await _converse(socket, connection, guest, in_turn=in_turn)
            except TimeoutError:
                pass  # ended from this side
            finally:
                is_conversing = False
                connection.gone()
    finally:
        node.disconnect(connection)
        # What calls `drained` and `end` is the connection's own: else all of it would wait for the collector.
        connection = None


def _carrier(
    socket: WebSocket, settings: Settings, low_water: int, drained: Callable[[], None], end: Callable[[], None]
) -> Carrier:
    """The server's own transport where it shows it, else the ASGI interface."""
    protocol = socket.scope.get("extensions", {}).get(EXTENSION) if settings.direct_writes else None
    if isinstance(protocol, WebSocketTransport):
        return TransportPort(socket, protocol, low_water, drained, end)
    return AsgiPort(socket, low_water, drained, end)


async def _converse(socket: WebSocket, connection: Connection, guest: Guest, *, in_turn: bool) -> None:
    """Hand over what the client sends, one message at a time, until it is gone."""
    try:
        asked = socket.query_params
        # Of a crowd that comes at once a few at a time, and what others are owed in between.
        if not in_turn:
            await connection.node.pace.turn()
        await open_conversation(connection, asked.get("project_id"), asked.get("after"), asked.get("client_id"))
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            said = text if text is not None else message.get("bytes") or b""
            if not guest.message(time.monotonic(), len(said)):
                connection.end(Input.LIMIT_PASSED)
                return
            await connection.receive(said)
            # Those that wait already would be acted on in the same step of the event loop, all others waiting.
            await asyncio.sleep(0)
    except LastseenError:
        _log.exception("connection %s failed", connection.id)
        connection.end(Input.FAULT)
