"""`GET /ws`: the WebSocket that carries a connection of the node."""

import asyncio
import logging
from collections.abc import Callable

from fastapi import APIRouter, WebSocket
from lastseen import close_codes

from service.domain.errors import Denied, LastseenError
from service.domain.identity import Identity
from service.domain.protocol import SUBPROTOCOL, Input
from service.node.connection import Connection
from service.node.node import Node
from service.node.opening import open_conversation
from service.ports import Authenticator
from service.settings import Settings
from service.web.asgi_port import AsgiPort
from service.web.carrier import Carrier
from service.web.transport import EXTENSION, WebSocketTransport
from service.web.transport_port import TransportPort

_log = logging.getLogger(__name__)
_BEARER = "bearer."
_AT_ONCE = 0.0
"""A time of the loop's clock that has passed."""

router = APIRouter()


@router.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    """Accept, identify, and carry the conversation until either side ends it."""
    # Accepted first and closed then: before that a browser would not see the code.
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    node: Node = socket.app.state.node
    try:
        identity = await _identify(socket, socket.app.state.authenticator)
    except Denied as error:
        await socket.close(close_codes.POLICY, str(error))
        return
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
                    await _converse(socket, connection)
            except TimeoutError:
                pass  # ended from this side
            finally:
                is_conversing = False
                connection.gone()
    finally:
        node.disconnect(connection)


def _carrier(
    socket: WebSocket, settings: Settings, low_water: int, drained: Callable[[], None], end: Callable[[], None]
) -> Carrier:
    """The server's own transport where it shows it, else the ASGI interface."""
    protocol = socket.scope.get("extensions", {}).get(EXTENSION) if settings.direct_writes else None
    if isinstance(protocol, WebSocketTransport):
        return TransportPort(socket, protocol, low_water, drained, end)
    return AsgiPort(socket, low_water, drained, end)


async def _converse(socket: WebSocket, connection: Connection) -> None:
    """Hand over what the client sends, one message at a time, until it is gone."""
    try:
        asked = socket.query_params
        await open_conversation(connection, asked.get("project_id"), asked.get("after"), asked.get("client_id"))
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            await connection.receive(text if text is not None else message.get("bytes") or b"")
    except LastseenError:
        _log.exception("connection %s failed", connection.id)
        connection.end(Input.FAULT)


async def _identify(socket: WebSocket, authenticator: Authenticator) -> Identity:
    """Who it is: by subprotocol, header or query, in this order. Raises Denied with the close reason."""
    token = next((p.removeprefix(_BEARER) for p in socket.scope.get("subprotocols", []) if p.startswith(_BEARER)), None)
    if token is None:
        scheme, _, credentials = socket.headers.get("authorization", "").partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else None
    if token is None:
        token = socket.query_params.get("token")
    if not token:
        raise Denied("Authentication required")
    try:
        return await authenticator.identify(token)
    except Denied as error:
        raise Denied("Invalid token") from error
