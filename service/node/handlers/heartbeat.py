"""`ping`, `pong` and `ack`: signs of life, and how far the client has come."""

from service.domain import messages
from service.domain.errors import Unavailable
from service.domain.requests import Ack, Ping, Pong
from service.node.connection import Connection

_RETRY_SECONDS = 5.0


async def ping(connection: Connection, request: Ping) -> None:
    """The client asks whether the server lives."""
    ping_at_once(connection, request)


def ping_at_once(connection: Connection, request: Ping) -> bool:
    """There is nothing to wait for."""
    # Whoever asks without reading is known to live, and needs no more answers.
    if connection.flow.has_room_to_answer:
        connection.answer(messages.pong(connection.node.clock.now_ms(), request.ref))
    return True


async def pong(connection: Connection, request: Pong) -> None:
    """The client has got everything up to a ping of the server's."""
    pong_at_once(connection, request)


def pong_at_once(connection: Connection, _: Pong) -> bool:
    """There is nothing to wait for."""
    position = connection.pinged()
    if position is not None:
        connection.node.cursors.move(connection.cursor, position)
    return True


async def ack(connection: Connection, request: Ack) -> None:
    """The client has got everything of its user channel up to there."""
    await connection.room_to_answer()
    node = connection.node
    if not connection.keeps_cursor:
        problem = "what came while you were away has not been delivered, so the cursor stays: connect again later"
        connection.fail(problem, "history_unavailable", ref=request.ref, retry_after=_RETRY_SECONDS)
        return
    if request.position.epoch != node.head.epoch:
        problem = f"the position is of epoch {request.position.epoch}, the present one is {node.head.epoch}"
        connection.fail(problem, "invalid_position", ref=request.ref)
        return
    position = node.head.at_most(request.position)
    if request.ref is None:
        node.cursors.move(connection.cursor, position)
        return
    try:
        stored = await node.cursors.store(connection.cursor, position)
    except Unavailable as error:
        connection.fail(str(error), error.code, ref=request.ref, retry_after=error.retry_after)
    else:
        connection.answer(messages.ack_result(stored.token, request.ref))
