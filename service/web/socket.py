"""`GET /ws`: the WebSocket that carries a connection of the node."""

import asyncio
import logging

from fastapi import APIRouter, WebSocket
from lastseen import close_codes

from service.domain.errors import Denied, LastseenError
from service.domain.identity import Identity
from service.domain.protocol import SUBPROTOCOL
from service.node.connection import Connection
from service.node.node import Node
from service.ports import Authenticator
from service.web.asgi_port import AsgiPort

_log = logging.getLogger(__name__)
_BEARER = "bearer."
_GOODBYE_SECONDS = 5.0
"""How long a client that does not read is given to take the close frame."""

router = APIRouter()


@router.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    """Accept, identify, and carry the conversation until either side ends it."""
    # Accepted first and closed then: before that a browser would not see the code.
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    node: Node = socket.app.state.node
    try:
        identity = _identify(socket, socket.app.state.authenticator)
    except Denied as error:
        await socket.close(close_codes.POLICY, str(error))
        return
    connection: Connection | None = None
    closing = asyncio.timeout(None)
    conversing = False

    def drained() -> None:
        if connection is not None:
            connection.drained()

    def end_soon() -> None:
        if connection is not None:
            connection.gone()
        # Once it has run out, or before it runs, there is nothing to reschedule.
        if conversing and not closing.expired():
            closing.reschedule(asyncio.get_running_loop().time() + _GOODBYE_SECONDS)

    port = AsgiPort(socket, node.services.low_water, drained, end_soon)
    connection = node.connect(port, identity)
    if connection is None:
        await socket.close(close_codes.TOO_MANY, "Too many connections")
        return
    sending = asyncio.create_task(port.send_all(), name=f"send {connection.id}")
    try:
        async with closing:
            conversing = True
            await _converse(socket, connection)
    except TimeoutError:
        _log.info("connection %s did not take its close frame", connection.id)
    finally:
        conversing = False
        node.disconnect(connection)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _converse(socket: WebSocket, connection: Connection) -> None:
    """Hand over what the client sends, one message at a time, until it is gone."""
    try:
        await connection.open(socket.query_params.get("project_id"), socket.query_params.get("after"))
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if not connection.is_gone:
                text = message.get("text")
                await connection.receive(text if text is not None else message.get("bytes") or b"")
    except LastseenError:
        _log.exception("connection %s failed", connection.id)
        connection.close(close_codes.INTERNAL_ERROR, "Internal server error")
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


def _identify(socket: WebSocket, authenticator: Authenticator) -> Identity:
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
        return authenticator.identify(token)
    except Denied as error:
        raise Denied("Invalid token") from error
