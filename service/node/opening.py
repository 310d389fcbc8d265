"""The beginning of a conversation: what may be had, from where, and the first message."""

import re
from functools import lru_cache
from typing import Final

from lastseen import close_codes
from lastseen.channels import BROADCAST, ID_PATTERN
from lastseen.positions import Position

from service.domain import messages
from service.domain.errors import Unavailable
from service.domain.messages import Start
from service.node.connection import Connection
from service.node.offline import OfflineStart
from service.node.replay import Beginning

_CLIENT_ID: Final = re.compile(ID_PATTERN)
_SECONDS: Final = 5.0
"""How long it may take to find where a replay begins."""
_RIGHTS_UNKNOWN: Final = "Rights not known now"


# Of a crowd many have the same.
_position = lru_cache(maxsize=1_024)(Position.parse)


def open_at_once(connection: Connection, project_id: str | None, after: str | None, client_id: str | None) -> bool:
    """As `open_conversation`, for who has been here a moment ago; where something has to be awaited, False and nothing.

    What this node knows grants the project, and its window has what came since.
    """
    node = connection.node
    if after is None or (client_id and not _CLIENT_ID.fullmatch(client_id)):
        return False
    if project_id is not None and not node.surely_may(connection.identity, (f"project:{project_id}",)):
        return False
    try:
        beginning = node.replay.begin_at_once(_position(after))
    except ValueError:
        return False
    if beginning is None:
        return False
    connection.client_id = client_id or ""
    connection.project = project_id
    _begin(connection, beginning)
    return True


async def open_conversation(
    connection: Connection, project_id: str | None, after: str | None, client_id: str | None = None
) -> None:
    """Greet the client and begin the automatic subscriptions, or close with the reason."""
    if client_id and not _CLIENT_ID.fullmatch(client_id):
        _refuse(connection, "client_id must be 1 to 128 of A-Z a-z 0-9 . _ : @ + = ~ | -", "invalid_client_id")
        connection.close(close_codes.POLICY, "Invalid client_id")
        return
    connection.client_id = client_id or ""
    position: Position | None = None
    if after is not None:
        try:
            position = _position(after)
        except ValueError as error:
            _refuse(connection, str(error), "invalid_position")
            connection.close(close_codes.POLICY, "Invalid position")
            return
    if project_id is not None and not await _may_have(connection, project_id, position):
        return
    if position is None:
        await _begin_now(connection)
    else:
        await _begin_after(connection, position)


async def _may_have(connection: Connection, project_id: str, after: Position | None) -> bool:
    """Whether the client may read the project; else the connection has been closed."""
    channel = f"project:{project_id}"
    node = connection.node
    try:
        if after is not None:
            # What it has seen elsewhere may have ended a right that this node has not heard of yet.
            await node.replay.reach(after, node.settings.settle_seconds)
        verdict = (await node.access.judge(connection.identity, [channel]))[channel]
    except Unavailable as error:
        verdict = error
    if isinstance(verdict, Unavailable):
        connection.close(close_codes.TRY_AGAIN_LATER, _RIGHTS_UNKNOWN)
        return False
    if not verdict:
        connection.close(close_codes.POLICY, close_codes.PROJECT_DENIED)
        return False
    connection.project = project_id
    return True


def _others(connection: Connection) -> list[str]:
    """The automatic subscriptions but the user's own."""
    return [BROADCAST] if connection.project is None else [BROADCAST, f"project:{connection.project}"]


async def _begin_after(connection: Connection, after: Position) -> None:
    """Everything since a position, in one catch-up."""
    try:
        replay = connection.node.replay
        beginning = replay.begin_at_once(after)
        if beginning is None:
            beginning = await connection.node.patience.within(_SECONDS, replay.begin(after))
    except Unavailable as error:
        _refuse(connection, str(error), error.code, retry_after=error.retry_after)
        connection.close(close_codes.TRY_AGAIN_LATER, "Replay not possible now")
        return
    if _still_granted(connection):
        _begin(connection, beginning)


def _begin(connection: Connection, beginning: Beginning) -> None:
    """Greet, and serve what came since, in one write where the window has it."""
    channels = [connection.user_channel, *_others(connection)]
    connection.keeps_cursor = True
    recovered = not beginning.lost
    starts = [Start(channel, beginning.asked, live=False, recovered=recovered) for channel in channels]
    with connection.flow.together():
        if connection.greet(starts):
            connection.catch_up(channels, beginning)


async def _begin_now(connection: Connection) -> None:
    """What came to the user while away, and the others from now on."""
    start: OfflineStart | None = None
    away: Unavailable | None = None
    try:
        start = await connection.node.offline.begin(connection.cursor)
    except Unavailable as error:
        away = error
    if _still_granted(connection):
        with connection.flow.together():
            _greet_now(connection, start, away)


def _greet_now(connection: Connection, start: OfflineStart | None, away: Unavailable | None) -> None:
    """Greet; `start` says where what came while away begins, or else `away` why that can't be told."""
    node = connection.node
    head, token = node.window.heads(), node.head.token
    others = _others(connection)
    starts = [_user_start(connection, start.beginning if start else None, token)]
    starts += [Start(channel, token, live=True) for channel in others]
    if not connection.greet(starts):
        return
    if start is None:
        # Live all the same; the cursor stays where it is, so that the next connection gets what this one does not.
        connection.begin_live(connection.user_channel, head)
    else:
        connection.keeps_cursor = True
        joined = connection.catch_up_offline(*start)
    for channel in others:
        connection.begin_live(channel, head)
    if start is None and away is not None:
        problem = f"what came while you were away can't be had now, connect again later: {away}"
        connection.fail(problem, "history_unavailable", channel=connection.user_channel, retry_after=away.retry_after)
    elif joined is not None:
        connection.answer(messages.fell_behind(others, token))


def _user_start(connection: Connection, beginning: Beginning | None, head: str) -> Start:
    if beginning is None:
        return Start(connection.user_channel, head, live=True)
    return Start(connection.user_channel, beginning.asked, live=False, recovered=not beginning.lost)


def _still_granted(connection: Connection) -> bool:
    """Whether the project may still be read, now that everything else is known; else the connection is closed.

    A right that has just ended may have been given back in what this node has yet to read: it is no denial.
    """
    if connection.project is None or connection.still_may(f"project:{connection.project}"):
        return True
    connection.close(close_codes.TRY_AGAIN_LATER, _RIGHTS_UNKNOWN)
    return False


def _refuse(connection: Connection, problem: str, code: str, retry_after: float | None = None) -> None:
    connection.fail(problem, code, retry_after=retry_after)
