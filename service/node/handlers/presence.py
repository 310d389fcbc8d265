"""`presence`: who is there."""

from lastseen.channels import BROADCAST, SYSTEM

from service.domain import messages
from service.domain.errors import Unavailable
from service.domain.presence_records import About
from service.domain.requests import AskPresence
from service.node.connection import Connection

_EVERYBODY = {BROADCAST, SYSTEM}


async def presence(connection: Connection, request: AskPresence) -> None:
    """The users of a channel, for whoever may read it."""
    await connection.room_to_answer()
    channel = request.channel
    verdict = (await connection.node.access.judge(connection.identity, [channel]))[channel]
    shown = channel[:200]
    if isinstance(verdict, Unavailable):
        connection.fail(str(verdict), verdict.code, ref=request.ref, channel=shown, retry_after=verdict.retry_after)
    elif not verdict:
        connection.fail("Channel access denied", "access_denied", ref=request.ref, channel=shown)
    elif channel in _EVERYBODY and not connection.identity.may_publish:
        problem = "who is connected at all is for the role admin and the scope publish: ask for a project or a task"
        connection.fail(problem, "access_denied", ref=request.ref, channel=shown)
    else:
        try:
            found = await connection.node.presence.ask(About(channel=channel))
        except Unavailable as error:
            connection.fail(str(error), error.code, ref=request.ref, channel=shown, retry_after=error.retry_after)
        else:
            connection.answer(messages.presence_result(channel, found.listed_users, found.silent, request.ref))
