"""`task_input`, `task_cancel`, `task_pause`, `task_resume`, `task_confirm`: what is done to a running task."""

from service.domain.command_requests import CommandRequest
from service.node.connection import Connection


async def act(connection: Connection, request: CommandRequest) -> None:
    """Send the command; its answer comes when the receipt does, and other messages don't wait for it."""
    await connection.room_to_answer()
    connection.node.commands.start(connection, request)
