"""`authenticate`: another token on the open connection."""

from service.domain import messages
from service.domain.errors import Denied, Unavailable
from service.domain.requests import Authenticate
from service.node.access import BY_THE_LOG
from service.node.connection import Connection


async def authenticate(connection: Connection, request: Authenticate) -> None:
    """Go on as the same user with a token that ends later, or grants other rights."""
    await connection.room_to_answer()
    try:
        identity = await connection.node.authenticator.identify(request.token)
    except Denied:
        connection.fail("Invalid token", "invalid_token", ref=request.ref)
        return
    except Unavailable as error:
        connection.fail(str(error), error.code, ref=request.ref, retry_after=error.retry_after)
        return
    if identity.user_id != connection.identity.user_id:
        problem = f"the token is another user's: this connection is {connection.identity.user_id}'s, open a new one"
        connection.fail(problem, "another_user", ref=request.ref)
        return
    connection.renew(identity)
    connection.answer(messages.authentication_result(identity.expires_at, request.ref))
    doubtful = [channel for channel in connection.subscriptions.channels if not connection.still_may(channel)]
    for channel in [name for name in doubtful if not name.startswith(BY_THE_LOG)]:
        doubtful.remove(channel)
        connection.unsubscribe(channel, "token")
    if doubtful:
        for channel, verdict in (await connection.node.access.judge(identity, doubtful)).items():
            if verdict is not True and channel in connection.subscriptions:
                connection.unsubscribe(channel, "token")
