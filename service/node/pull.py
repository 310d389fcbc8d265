"""Serving catch-ups: one task for each, as long as it lasts, owned by the node."""

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from service.domain.errors import HistoryUnavailable, Unavailable
from service.domain.protocol import Input
from service.domain.subscriptions import CatchUp
from service.node.connection import Connection
from service.node.replay import Page

_log = logging.getLogger(__name__)
_MAX_RETRY_SECONDS: Final = 5.0
_SLICE_BYTES: Final = 128 * 1024
"""What is written of a page before the client has to have room again."""
_HOLD_SECONDS: Final = 1.0
"""How long the rest of a page is kept for a client that has no room; after that it is read again once there is."""


class Puller:
    """Pulls for connections that are catching up, each at the pace of its client."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        # The catch-ups of one connection take turns: together they hold one page, and write no more than one would.
        self._turns: dict[Connection, _Turns] = {}

    def start(self, connection: Connection, group: CatchUp) -> None:
        """Pull for a group until it is live, empty or its connection gone."""
        group.pulling = True
        task = self._tasks.create_task(self._pull(connection, group), name=f"pull {connection.id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @property
    def running(self) -> int:
        """How many catch-ups are under way."""
        return len(self._running)

    def cancel(self) -> None:
        """End them all."""
        for task in self._running:
            task.cancel()

    async def _pull(self, connection: Connection, group: CatchUp) -> None:
        turns = self._turns.setdefault(connection, _Turns())
        turns.waiting += 1
        try:
            await self._learn_ends(connection, group)
            retry, few = 0.2, None
            while not _is_over(connection, group):
                try:
                    few = await self._older(connection, group, turns.lock, few)
                    if await self._newer(connection, group, turns.lock):
                        return
                    retry = 0.2
                except Unavailable as error:
                    # The node goes on with it by itself.
                    connection.fail(str(error), error.code, retry_after=error.retry_after)
                    await asyncio.sleep(max(retry, min(error.retry_after, _MAX_RETRY_SECONDS)))
                    retry = min(retry * 2, _MAX_RETRY_SECONDS)
        except Exception:  # noqa: BLE001 - one client's replay must not take the node down
            _log.exception("replay of connection %s failed", connection.id)
            connection.end(Input.FAULT)
        finally:
            group.pulling = False
            turns.waiting -= 1
            if turns.waiting == 0:
                self._turns.pop(connection, None)

    async def _learn_ends(self, connection: Connection, group: CatchUp) -> None:
        """Ask about the tasks replayed, so that `caught_up` can say which have ended."""
        for channel in list(group.channels):
            if channel.startswith("task:"):
                try:
                    await connection.node.rights.find(channel.removeprefix("task:"))
                except HistoryUnavailable:
                    return  # then the terminal event itself tells

    async def _older(self, connection: Connection, group: CatchUp, turn: asyncio.Lock, few: int | None) -> int | None:
        """Serve what the window no longer holds, `few` records first where that is what the client takes at once.

        For a client that had no room in time, how few that was: nothing is held for it while it has none.
        """
        user = connection.identity.user_id
        is_quick = True
        replay = connection.node.replay.pages(group, who=user, is_quick=lambda: is_quick, first=few)
        async with aclosing(replay) as pages:
            while True:
                async with turn:
                    is_quick = connection.flow.has_room
                    await connection.flow.room()
                    page = await anext(pages, None)
                    if page is None or _is_over(connection, group):
                        return None
                    for part in page.slices(_SLICE_BYTES) if isinstance(page, Page) else (page,):
                        connection.deliver(group, part)
                        in_time = await connection.flow.room_within(_HOLD_SECONDS)
                        if _is_over(connection, group):
                            return None
                        if not in_time:
                            return max(1, len(part.records)) if isinstance(part, Page) else None
                        # The next page is read meanwhile, and others have their step.
                        await asyncio.sleep(0)
                # Others of the connection may hold the turn for long.
                del page, part

    async def _newer(self, connection: Connection, group: CatchUp, turn: asyncio.Lock) -> bool:
        """Serve out of the window. False when it slid past the cursor meanwhile."""
        services = connection.node
        while not _is_over(connection, group):
            async with turn:
                await connection.flow.room()
                await services.pace.turn()
                if _is_over(connection, group):
                    return True
                if not services.window.holds(group.cursor):
                    return False
                before = dict(group.cursor)
                if connection.deliver_window(group):
                    return True
            if group.cursor == before and connection.flow.has_room:
                # Ahead of this node's tail: another node was faster.
                await services.head.next_move()
            else:
                await asyncio.sleep(0)
        return True


class _Turns:
    """Whose turn it is among the catch-ups of one connection."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


def _is_over(connection: Connection, group: CatchUp) -> bool:
    return connection.is_gone or not group.channels
