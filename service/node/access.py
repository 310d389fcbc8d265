"""Who may read which channel."""

import asyncio
from collections.abc import Sequence

from lastseen.channels import BROADCAST, SYSTEM, parse_channel

from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.node.head import Head
from service.node.tasks import Tasks
from service.ports import EventLog

Verdict = bool | Unavailable
"""Whether it may be read, or why that can't be told now."""


class Access:
    """Rights by the token's claims: user, role and projects; a task is read like its project or by its user."""

    def __init__(self, tasks: Tasks, head: Head, log: EventLog, settle_seconds: float) -> None:
        self._tasks = tasks
        self._head = head
        self._log = log
        self._settle_seconds = settle_seconds

    async def judge(self, identity: Identity, names: Sequence[str]) -> dict[str, Verdict]:
        """Whether `identity` may subscribe to each of the channels; a name that is no channel is denied.

        A task that this node has not heard of may have begun a moment ago, so a denial is final only when the
        tail has passed what the log held when it was asked: once for all names.
        """
        settled: Verdict | None = None
        verdicts: dict[str, Verdict] = {}
        for name in names:
            try:
                verdict = await self._may_read(identity, name)
                if verdict is None:
                    settled = settled or await self._settle()
                    verdict = settled if isinstance(settled, Unavailable) else await self._may_read(identity, name)
            except Unavailable as error:
                verdict = error
            verdicts[name] = verdict or False
        return verdicts

    async def _may_read(self, identity: Identity, name: str) -> Verdict | None:
        """None for a task of which nothing is known."""
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
        if identity.is_admin:
            return True
        facts = await self._tasks.find(channel.id)
        if facts is None:
            return None
        return facts.project in identity.projects or facts.user == identity.user_id

    async def _settle(self) -> Verdict:
        """Wait until nothing that the log holds now is unknown here."""
        try:
            async with asyncio.timeout(self._settle_seconds):
                bounds = await self._log.bounds()
                await self._head.passed({partition: held.next - 1 for partition, held in bounds.items()})
                if not await self._tasks.is_all_known():
                    return Unavailable("Postgres is behind this node's window, and it can't be judged yet: try again")
        except TimeoutError:
            return Unavailable("this node is behind the log and can't judge yet: try again")
        except Unavailable as error:
            return error
        return True
