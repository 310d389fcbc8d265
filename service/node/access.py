"""Who may read which channel."""

import asyncio

from lastseen.channels import BROADCAST, SYSTEM, parse_channel

from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.node.head import Head
from service.node.tasks import Tasks
from service.ports import EventLog


class Access:
    """Rights by the token's claims: user, role and projects; a task is read like its project or by its user."""

    def __init__(self, tasks: Tasks, head: Head, log: EventLog, settle_seconds: float) -> None:
        self._tasks = tasks
        self._head = head
        self._log = log
        self._settle_seconds = settle_seconds

    async def may_read(self, identity: Identity, name: str) -> bool:
        """Whether `identity` may subscribe to the channel; a name that is no channel is denied.

        A task that this node has not heard of may have been started a moment ago, so a denial is final only
        when the tail has passed what the log held. Raises Unavailable when that can't be had in time.
        """
        try:
            channel = parse_channel(name)
        except ValueError:
            return False
        match channel.kind:
            case kind if kind == BROADCAST:
                return True
            case kind if kind == SYSTEM:
                return identity.is_admin
            case "user":
                return channel.id == identity.user_id
            case "project":
                return identity.is_admin or channel.id in identity.projects
            case _:
                return identity.is_admin or await self._may_read_task(identity, channel.id)

    async def _may_read_task(self, identity: Identity, task: str) -> bool:
        facts = await self._tasks.find(task)
        if facts is None:
            bounds = await self._log.bounds()
            try:
                async with asyncio.timeout(self._settle_seconds):
                    await self._head.passed({partition: held.next - 1 for partition, held in bounds.items()})
            except TimeoutError as error:
                raise Unavailable("this node is behind the log and can't judge yet: try again") from error
            facts = await self._tasks.find(task)
        return facts is not None and (facts.project in identity.projects or facts.user == identity.user_id)
