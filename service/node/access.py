"""Who may read which channel and act on which task, by the log."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Final

from lastseen.channels import Channel, parse_channel

from service.domain.access_rules import contradicts, may_execute, may_read, may_start
from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.domain.records import Record
from service.domain.rights import Change
from service.node.head import Head
from service.node.rights import KnownRights
from service.node.sources import Sources
from service.ports import Verdict

BY_THE_LOG: Final = ("project:", "task:")
"""How the names of channels begin whose rights the log gives and takes."""
_LONGEST: Final = 160
"""Characters past which a name is no channel."""
_PARSED: Final = 4_096
_BY_THE_LOG: Final = frozenset({"project", "task"})


class LogAccess:
    """The port `Access` on what this node knows of the log.

    A right may have been given a moment ago, by another node: a denial is final only when the tail has passed
    what the log held when it was asked.
    """

    def __init__(
        self, known: KnownRights, head: Head, sources: Sources, *, settle_seconds: float, trust_claims: bool
    ) -> None:
        self._known = known
        self._head = head
        self._sources = sources
        self._settle_seconds = settle_seconds
        self._trust_claims = trust_claims

    async def judge(self, identity: Identity, names: Sequence[str]) -> dict[str, Verdict]:
        channels = {name: _channel(name) for name in names}
        doubtful = {
            name: channel
            for name, channel in channels.items()
            if channel is not None and channel.kind in _BY_THE_LOG and self._may_read(identity, channel) is not True
        }
        denials = await self._learn(identity, names, doubtful) if doubtful else {}
        if identity.is_admin:
            await self._get_to_know(channel.id for channel in channels.values() if channel and channel.kind == "task")
        # While others were waited for, a right may have ended: all verdicts are of this one moment.
        return {name: self._verdict(identity, channel, denials.get(name)) for name, channel in channels.items()}

    def surely_may(self, identity: Identity, names: Sequence[str]) -> bool:
        """As `JudgesAtOnce.surely_may`."""
        return all(map(partial(self._surely_may, identity), names))

    def _surely_may(self, identity: Identity, name: str) -> bool:
        channel = _channel(name)
        if channel is None or self._may_read(identity, channel) is not True:
            return False
        # An administrator may read what nobody here knows, and then it is got to know.
        return channel.kind != "task" or self._known.known(channel.id) is not None

    async def _learn(
        self, identity: Identity, names: Sequence[str], doubtful: Mapping[str, Channel]
    ) -> dict[str, Verdict]:
        """Get to know all that the log holds now; what to say of names that may not be read even then."""
        settled = await self._settle()
        if isinstance(settled, Unavailable):
            return dict.fromkeys(names, settled)
        denials: dict[str, Verdict] = {}
        for name, channel in doubtful.items():
            if self._may_read(identity, channel) is None:
                try:
                    if await self._known.find(channel.id) is None:
                        denials[name] = False
                except Unavailable as error:
                    denials[name] = error
        return denials

    async def _get_to_know(self, tasks: Iterable[str]) -> None:
        """Learn of tasks that may be read whatever they are: what contradicts their starts is not for their readers."""
        for task in tasks:
            with suppress(Unavailable):
                await self._known.find(task)

    def _verdict(self, identity: Identity, channel: Channel | None, denial: Verdict | None) -> Verdict:
        if channel is None:
            return False
        verdict = self._may_read(identity, channel)
        if verdict is True or channel.kind not in _BY_THE_LOG:
            return verdict is True
        if denial is not None:
            return denial
        if verdict is None:
            return Unavailable("the task was forgotten again while others were looked for: try again")
        return False

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

    async def may_start(self, identity: Identity, project_id: str) -> Verdict:
        def judged() -> bool:
            return may_start(identity, project_id, self._known.rights, self._trust_claims)

        if judged():
            return True
        settled = await self._settle()
        return settled if isinstance(settled, Unavailable) else judged()

    def still_may(self, identity: Identity, name: str) -> bool:
        channel = _channel(name)
        return channel is not None and self._may_read(identity, channel) is True

    def contradicts(self, record: Record) -> bool:
        return contradicts(record, self._known.rights)

    def note(self, record: Record) -> Change | None:
        return self._known.note(record)

    def _may_read(self, identity: Identity, channel: Channel) -> bool | None:
        return may_read(identity, channel, self._known.rights, self._trust_claims)

    async def _settle(self) -> Verdict:
        """Wait until nothing that the log holds now is unknown here."""
        try:
            # Not in the time for the tail, which may be none: Kafka never answers at once.
            bounds = await self._sources.bounds()
            async with asyncio.timeout(self._settle_seconds):
                await self._head.passed({partition: held.next - 1 for partition, held in bounds.items()})
        except TimeoutError:
            return Unavailable("this node is behind the log and can't judge yet: try again")
        except Unavailable as error:
            return error
        return True


def _channel(name: str) -> Channel | None:
    return _parsed(name) if len(name) <= _LONGEST else None


@lru_cache(_PARSED)
def _parsed(name: str) -> Channel | None:
    """Of a crowd many name the same."""
    try:
        return parse_channel(name)
    except ValueError:
        return None
