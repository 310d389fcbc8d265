"""Who may read which channel and act on which task, by the log."""

import asyncio
from collections.abc import Sequence
from typing import Final

from lastseen.channels import Channel, parse_channel

from service.domain.access_rules import may_execute, may_read
from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.domain.records import Record
from service.domain.rights import Change
from service.node.head import Head
from service.node.rights import KnownRights
from service.ports import EventLog, Verdict

_BY_THE_LOG: Final = frozenset({"project", "task"})


class LogAccess:
    """The port `Access` on what this node knows of the log.

    A right may have been given a moment ago, by another node: a denial is final only when the tail has passed
    what the log held when it was asked.
    """

    def __init__(
        self, known: KnownRights, head: Head, log: EventLog, *, settle_seconds: float, trust_claims: bool
    ) -> None:
        self._known = known
        self._head = head
        self._log = log
        self._settle_seconds = settle_seconds
        self._trust_claims = trust_claims

    async def judge(self, identity: Identity, names: Sequence[str]) -> dict[str, Verdict]:
        verdicts: dict[str, Verdict] = {}
        settled: Verdict | None = None
        for name in names:
            channel = _channel(name)
            verdict: Verdict = channel is not None and self._may_read(identity, channel) is True
            if not verdict and channel is not None and channel.kind in _BY_THE_LOG:
                settled = settled or await self._settle()
                verdict = settled if isinstance(settled, Unavailable) else await self._judge(identity, channel)
            verdicts[name] = verdict
        return verdicts

    async def _judge(self, identity: Identity, channel: Channel) -> Verdict:
        """Judge by all that is held of it."""
        verdict = self._may_read(identity, channel)
        if verdict is None:
            try:
                await self._known.find(channel.id)
            except Unavailable as error:
                return error
            verdict = self._may_read(identity, channel)
        return verdict is True

    async def may_execute(self, identity: Identity, task_id: str) -> Verdict:
        def judged() -> bool | None:
            task = self._known.known(task_id)
            return None if task is None else may_execute(identity, task, self._known.rights, self._trust_claims)

        if judged():
            return True
        settled = await self._settle()
        if isinstance(settled, Unavailable):
            return settled
        try:
            await self._known.find(task_id)
        except Unavailable as error:
            return error
        return judged() is True

    def still_may(self, identity: Identity, name: str) -> bool:
        channel = _channel(name)
        return channel is not None and self._may_read(identity, channel) is True

    def note(self, record: Record) -> Change | None:
        return self._known.note(record)

    def _may_read(self, identity: Identity, channel: Channel) -> bool | None:
        return may_read(identity, channel, self._known.rights, self._trust_claims)

    async def _settle(self) -> Verdict:
        """Wait until nothing that the log holds now is unknown here."""
        try:
            async with asyncio.timeout(self._settle_seconds):
                bounds = await self._log.bounds()
                await self._head.passed({partition: held.next - 1 for partition, held in bounds.items()})
        except TimeoutError:
            return Unavailable("this node is behind the log and can't judge yet: try again")
        except Unavailable as error:
            return error
        return True


def _channel(name: str) -> Channel | None:
    try:
        return parse_channel(name)
    except ValueError:
        return None
