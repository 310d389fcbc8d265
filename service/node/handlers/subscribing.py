"""`subscribe` and `unsubscribe`."""

from collections.abc import Mapping

from service.domain import messages
from service.domain.errors import Unavailable
from service.domain.requests import Subscribe, Unsubscribe
from service.node.access import BY_THE_LOG
from service.node.connection import Connection
from service.node.past import Wanted
from service.node.starts import Begun, Start, begin
from service.ports import Verdict


async def subscribe(connection: Connection, request: Subscribe) -> None:
    """Begin the subscriptions that are granted; answer for each channel."""
    await connection.room_to_answer()
    node = connection.node
    if request.after is not None and any(name.startswith(BY_THE_LOG) for name in request.channels):
        try:
            # What it has seen elsewhere may have ended a right that this node has not heard of yet.
            await node.replay.reach(request.after, node.settings.settle_seconds)
        except Unavailable as error:
            for channel in request.channels:
                _refuse(connection, request, channel, error)
            return
    verdicts = await node.access.judge(connection.identity, request.channels)
    granted = _granted(connection, request, verdicts)
    if not granted:
        return
    if request.is_from_now:
        for channel in granted:
            _subscribe_now(connection, request, channel)
    else:
        await _subscribe_from(connection, request, granted)


def subscribe_at_once(connection: Connection, request: Subscribe) -> bool:
    """The same where what this node knows grants all of it, and the window has it from where it begins."""
    node = connection.node
    if not connection.flow.has_room_to_answer or not node.surely_may(connection.identity, request.channels):
        return False
    if request.is_from_now:
        for channel in _granted(connection, request, dict.fromkeys(request.channels, True)):
            _subscribe_now(connection, request, channel)
        return True
    beginning = None if request.after is None else node.replay.begin_at_once(request.after)
    if beginning is None:
        return False
    granted = _granted(connection, request, dict.fromkeys(request.channels, True))
    if granted:
        _begin(connection, request, Begun(beginning, dict.fromkeys(granted, beginning.cursor)))
    return True


async def unsubscribe(connection: Connection, request: Unsubscribe) -> None:
    """End the subscriptions."""
    await connection.room_to_answer()
    unsubscribe_at_once(connection, request)


def unsubscribe_at_once(connection: Connection, request: Unsubscribe) -> bool:
    """The same, where the client takes the answers."""
    if not connection.flow.has_room_to_answer:
        return False
    for channel in request.channels:
        connection.end_subscription(channel)
        connection.answer(messages.unsubscription_result(channel, request.ref))
    return True


async def _subscribe_from(connection: Connection, request: Subscribe, granted: list[str]) -> None:
    node = connection.node
    try:
        wanted = Wanted(tuple(granted), contradicts=node.access.contradicts, who=connection.identity.user_id)
        begun = await begin(node, Start(request.after, request.since_ms, request.last), wanted)
    except Unavailable as error:
        for channel in granted:
            _refuse(connection, request, channel, error)
        return
    # A right may have ended while the beginning was looked for. Whether for good is found out when it asks again.
    for channel in [name for name in granted if not connection.still_may(name)]:
        granted.remove(channel)
        _refuse(connection, request, channel, Unavailable("rights to this channel have just changed: try again"))
    if granted:
        _begin(connection, request, Begun(begun.beginning, {channel: begun.starts[channel] for channel in granted}))


def _begin(connection: Connection, request: Subscribe, begun: Begun) -> None:
    """Answer for each channel, and start them together, in one write where the window has what they missed."""
    beginning, starts = begun
    with connection.flow.together():
        for channel, start in starts.items():
            asked = beginning.asked if request.last is None else connection.node.head.token_of(start)
            connection.answer(messages.subscription_result(channel, asked, not beginning.lost, request.ref))
        connection.catch_up(list(starts), beginning, starts)


def _granted(connection: Connection, request: Subscribe, verdicts: Mapping[str, Verdict]) -> list[str]:
    """The channels of a request that may be read; each other one is answered."""
    granted = []
    for channel, verdict in verdicts.items():
        if isinstance(verdict, Unavailable):
            _refuse(connection, request, channel, verdict)
        elif verdict:
            granted.append(channel)
        else:
            _deny(connection, request, channel)
    new = [channel for channel in granted if channel not in connection.subscriptions]
    room, problem = _room(connection)
    for channel in new[max(room, 0) :]:
        granted.remove(channel)
        connection.fail(problem, "too_many_subscriptions", ref=request.ref, channel=channel[:200])
    return granted


def _room(connection: Connection) -> tuple[int, str]:
    """How many subscriptions more there may be (below 0 where there are too many), and what is said past that."""
    settings = connection.node.settings
    here = settings.max_subscriptions - len(connection.subscriptions)
    of_user = connection.node.connections.of_user(connection.identity.user_id)
    over_all = settings.max_subscriptions_per_user - sum(len(one.subscriptions) for one in of_user)
    if here <= over_all:
        return here, f"At most {settings.max_subscriptions} subscriptions a connection: unsubscribe others first"
    limit = settings.max_subscriptions_per_user
    return over_all, f"At most {limit} subscriptions a user, over all connections to a node: unsubscribe others first"


def _subscribe_now(connection: Connection, request: Subscribe, channel: str) -> None:
    node = connection.node
    head = node.window.heads()
    if channel in connection.subscriptions:
        group = connection.subscriptions.catch_up_of(channel)
        served = head if group is None else group.served_of(channel)
        token = node.head.token_of(served)
        connection.answer(messages.subscription_result(channel, token, None, request.ref))
        return
    joined = connection.begin_live(channel, head)
    connection.answer(messages.subscription_result(channel, node.head.token, None, request.ref))
    if joined is not None:
        connection.answer(messages.fell_behind([channel], node.head.token))


def _deny(connection: Connection, request: Subscribe, channel: str) -> None:
    connection.fail("Channel access denied", "access_denied", ref=request.ref, channel=channel[:200])


def _refuse(connection: Connection, request: Subscribe, channel: str, error: Unavailable) -> None:
    connection.fail(str(error), error.code, ref=request.ref, channel=channel[:200], retry_after=error.retry_after)
