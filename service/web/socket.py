"""`GET /ws`: the WebSocket that carries a connection of the node, whose hand-shake the application has answered."""

import asyncio
import logging
import time
from contextlib import suppress

from fastapi import APIRouter, WebSocket
from lastseen import close_codes

from service.domain.errors import LastseenError
from service.domain.identity import Identity
from service.domain.limits import Guest
from service.domain.protocol import SUBPROTOCOL, Input
from service.node.connection import Connection
from service.node.node import Node
from service.node.opening import open_conversation
from service.web.admission import Caller, Refusal, admit
from service.web.asgi_port import AsgiPort
from service.web.door import Door
from service.web.problems import Problem
from service.web.transport import EXTENSION, WebSocketTransport

_log = logging.getLogger(__name__)
_AT_ONCE = 0.0
"""A time of the loop's clock that has passed."""

router = APIRouter()


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
    door: Door = socket.app.state.door
    caller = Caller(socket.query_params, socket.headers, offered, socket.client)
    admitted = await admit(caller, door)
    if isinstance(admitted, Refusal):
        await socket.close(*admitted)
        return
    node: Node = socket.app.state.node
    protocol = socket.scope.get("extensions", {}).get(EXTENSION)
    if isinstance(protocol, WebSocketTransport) and node.services.settings.direct_writes:
        protocol.hand_over(node, door, caller, admitted)
        return
    try:
        await _carry(socket, node, admitted.identity, admitted.guest)
    finally:
        admitted.guest.leave()


async def _carry(socket: WebSocket, node: Node, identity: Identity, guest: Guest) -> None:
    """Carry the conversation over ASGI until either side ends it."""
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

    port = AsgiPort(socket, node.services.low_water, drained, end)
    connection = node.connect(port, identity)
    if connection is None:
        await socket.close(close_codes.TOO_MANY, "Too many connections")
        return
    try:
        async with port:
            try:
                # Past its time it was ended from this side.
                with suppress(TimeoutError):
                    async with conversation:
                        is_conversing = True
                        await _converse(socket, connection, guest)
            finally:
                is_conversing = False
                connection.gone()
    finally:
        node.disconnect(connection)
        # What calls `drained` and `end` is the connection's own: else all of it would wait for the collector.
        connection = None


async def _converse(socket: WebSocket, connection: Connection, guest: Guest) -> None:
    """Hand over what the client sends, one message at a time, until it is gone."""
    try:
        asked = socket.query_params
        # Of a crowd that comes at once a few at a time, and what others are owed in between.
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
