"""Who is connected, over all nodes: what this node tells the others, knows of them, and asks them.

Nothing that goes wrong here ends the node: while Kafka is away it goes on with what it knows.
"""

import asyncio
import heapq
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

from lastseen.record import encode

from service.cancellation import heed_cancellation
from service.domain.errors import LastseenError, LogUnavailable, OffsetsGone, Unavailable
from service.domain.presence import Announce, Decide, Duty, Forget, NodeCounts
from service.domain.presence import Presence as Fold
from service.domain.presence_counts import NodeTotal, Total, count, total
from service.domain.presence_events import presence_event, told_entries
from service.domain.presence_records import About, Answer, Counts, Gone, Question, entry_of, read_entry
from service.node.asking import Asking, Live
from service.node.connections import Connections
from service.node.pace import Pace
from service.node.presence_outbox import Outbox
from service.ports import Clock, EventLog, PresenceLog, PresenceRecord
from service.settings import Settings

_log = logging.getLogger(__name__)
_DUTIES: Final = 500
"""Events that one round appends."""
_ENCODED: Final = 50
"""Events that one step of the event loop makes."""
_CROWD: Final = 20
"""So many at once are a crowd that comes or goes: then more are gathered, and viewers told of many at a time."""
_GATHER_SECONDS: Final = 0.25
_YIELD_SECONDS: Final = 10.0
"""How long telling of those who came waits for others who are coming: what they missed is served first."""
_STEP: Final = 500
"""Records that one step of the event loop applies."""
_RETRY_SECONDS: Final = 1.0


class _GivenUp(LastseenError):
    """The other nodes have forgotten this one."""


class Presence:
    """Presence of one node. `run` is its life; without it only counting goes on."""

    def __init__(
        self,
        settings: Settings,
        log: PresenceLog,
        events: EventLog,
        connections: Connections,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._log = log
        self._events = events
        self._connections = connections
        self._clock = clock
        self._pace = pace
        self._node = settings.instance_id
        self._lease_ms = round(settings.presence_lease_seconds * 1000)
        self._grace_ms = round(settings.presence_grace_seconds * 1000)
        self._tick_seconds = min(1.0, settings.presence_lease_seconds / 10)
        self._fold = Fold(self._lease_ms)
        self._outbox = Outbox(log, settings.instance_id, settings.presence_lease_seconds, self._new_incarnation(), pace)
        self._asking = Asking(self._outbox.post, self._count)
        self._held = self._outbox.held
        self._next: int | None = None
        self._read_at = 0.0
        self._is_loaded = False
        self._end = 0
        """Where the topic ended when reading began."""
        self._is_lost = False
        """Whether other nodes have given this incarnation up."""
        self._moved = asyncio.Event()
        """Set, and made anew, whenever records have been applied."""

    def connected(self, connection_id: str, user: str, project: str | None) -> None:
        """A client has been admitted; `project` is the one that it connected with. O(1), no I/O."""
        self._held.connected(connection_id, user, project)

    def disconnected(self, connection_id: str) -> None:
        """A client is gone; nothing happens where it was never admitted. O(1), no I/O."""
        self._held.disconnected(connection_id)

    async def ask(self, about: About) -> Total:
        """How many connections, users and channels there are on all nodes. Raises Unavailable."""
        asked = await self._asking.ask(self._outbox.incarnation, about)
        return self._total(about, asked.answers, asked.nodes or {})

    async def stats(self, about: About) -> Total:
        """The same; while the other nodes can't be asked, with what they wrote last."""
        try:
            return await self.ask(about)
        except Unavailable:
            me = self._outbox.incarnation
            return self._total(about, {me: self._count(about)}, self._live())

    def users(self, most: int) -> list[str]:
        """The first so many of the users that are online, by their names, as the nodes have written them down."""
        return heapq.nsmallest(most, self._online(self._live()))

    async def run(self) -> None:
        """Tell, read and do this node's duties until cancelled; then say goodbye."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._outbox.run(), name="presence outbox")
                tasks.create_task(self._read(), name="presence reader")
                tasks.create_task(self._do_duties(), name="presence duties")
        finally:
            await self._outbox.leave()

    def _new_incarnation(self) -> str:
        return f"{self._clock.now_ms():012x}{uuid4().hex[:8]}"

    def _elapsed_ms(self) -> int:
        """Since something was read."""
        return round((asyncio.get_running_loop().time() - self._read_at) * 1000)

    def _live(self) -> Live:
        """The nodes that are there; this one knows of itself, though others may have given it up for lost."""
        own = NodeCounts(self._node, self._held.connections, len(self._held.users), self._lease_ms)
        return {**self._fold.live(self._fold.now(self._elapsed_ms())), self._outbox.incarnation: own}

    def _count(self, about: About) -> Counts:
        """What this node has of it."""
        if about.channel is not None:
            found = [
                connection
                for connection in self._connections.of_channel(about.channel)
                if connection.id != about.without and about.user in (None, connection.identity.user_id)
            ]
            users = {connection.identity.user_id for connection in found}
            return count(len(found), users, [about.channel] if found else [])
        if about.user is not None:
            found = [
                connection
                for connection in self._connections.of_user(about.user)
                if connection.id != about.without and connection.id in self._held
            ]
            channels = {channel for connection in found for channel in connection.subscriptions.channels}
            return count(len(found), [about.user] if found else [], channels)
        return count(self._held.connections, len(self._held.users), self._connections.channels)

    def _total(self, about: About, answers: dict[str, Counts], nodes: Live) -> Total:
        silent = []
        for incarnation in nodes.keys() - answers.keys():
            node = nodes[incarnation]
            connections, users = node.connections, node.users
            if about.channel is not None:
                connections = users = 0  # nobody writes down who watches what
            elif about.user is not None:
                connections = self._fold.connections_of(about.user).get(incarnation, 0)
                users = min(connections, 1)
            silent.append(NodeTotal(node.name, connections, users, None, False, incarnation, node.lease_ms))
        # One that was not live when it was asked has come since, or been given up for lost: it counts next time.
        answered = [(nodes[one].name, one, counts) for one, counts in answers.items() if one in nodes]
        # All users of a node are too many for an answer; but they are written down, and read by now.
        online = len(self._online(nodes)) if about == About() else None
        return total(answered, silent, online)

    def _online(self, nodes: Live) -> set[str]:
        return self._fold.online_users(nodes.keys(), self._held.users)

    async def _read(self) -> None:
        """Follow the topic; goes on by itself when Kafka comes back."""
        is_away = False
        while True:
            try:
                async with self._log.follow(self._next) as reader:
                    self._end = reader.end
                    while True:
                        heed_cancellation()
                        batch = await reader.read()
                        is_away = False
                        await self._apply(batch.records, batch.next)
            except (OffsetsGone, _GivenUp) as error:
                # Whoever was away for long may have missed tombstones too: they are not kept for ever.
                _log.warning("presence is read anew from its beginning: %s", error)
                self._fold = Fold(self._lease_ms)
                self._next, self._is_loaded = None, False
                self._outbox.rejoin(self._new_incarnation())
            except LogUnavailable as error:
                if not is_away:
                    _log.warning("the other nodes' presence is not known, trying again: %s", error)
                is_away = True
            heed_cancellation()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _apply(self, records: Sequence[PresenceRecord], next_: int) -> None:
        for at in range(0, len(records), _STEP):
            self._asking.forget_counts()
            for record in records[at : at + _STEP]:
                if record.offset >= self._end:
                    self._loaded()
                self._apply_one(record)
            self._read_at = asyncio.get_running_loop().time()
            await asyncio.sleep(0)
        self._next = next_
        if next_ >= self._end:
            self._loaded()
        if self._is_lost:
            self._is_lost = False
            raise _GivenUp("the other nodes had given this one up for lost, and it joins them anew")
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _loaded(self) -> None:
        """All that was held when reading began is known."""
        if not self._is_loaded:
            # Nobody could come back to this node before it was there.
            self._fold.restart_grace()
            self._is_loaded = True

    def _apply_one(self, record: PresenceRecord) -> None:
        word = read_entry(record.key, record.value)
        self._fold.apply(word, record.appended_at)
        me = self._outbox.incarnation
        match word:
            case Question() if self._is_loaded:
                self._asking.question(me, word, self._live())
            case Answer():
                self._asking.answer(me, word)
            case Gone("lease", incarnation) if incarnation == me:
                self._is_lost = True
            case Gone("user", incarnation, user) if incarnation == me:
                # Perhaps by one who gave this node up and was cut off before the lease.
                self._held.tell_again(user)

    async def _do_duties(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tick_seconds):
                    await self._moved.wait()
            try:
                done: list[Duty] = []
                while self._is_loaded and (duties := self._duties()) and duties != done:
                    if len(duties) > _CROWD:
                        await self._pace.quiet(_YIELD_SECONDS)
                        duties = self._duties() or duties
                    await self._do(duties)
                    done = duties
                    if _CROWD < len(duties) < _DUTIES:
                        await asyncio.sleep(_GATHER_SECONDS)
            except LogUnavailable as error:
                _log.warning("who has come and gone can't be told now, trying again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    def _duties(self) -> list[Duty]:
        return self._fold.duties(self._outbox.incarnation, self._elapsed_ms(), self._grace_ms, _DUTIES)

    async def _do(self, duties: Sequence[Duty]) -> None:
        """Do them, and wait until they are known to be done: else they would be done again."""
        events = []
        for at in range(0, len(duties), _ENCODED):
            told = duties[at : at + _ENCODED]
            events += [encode(presence_event(duty)) for duty in told if isinstance(duty, Announce)]
            await asyncio.sleep(0)
        if events:
            await self._events.append(events)
        entries: list[tuple[str, bytes | None]] = []
        for duty in duties:
            match duty:
                case Decide(session):
                    entries.append(entry_of(session))
                case Announce():
                    entries += told_entries(duty)
                case Forget(incarnation, keys):
                    if incarnation:
                        _log.warning("node %s has been silent for its whole lease: it is forgotten", incarnation)
                    entries += [(key, None) for key in keys]
        end = await self._log.append(entries)
        try:
            async with asyncio.timeout(self._lease_ms / 1000):
                while self._next is None or self._next < end:
                    await self._moved.wait()
        except TimeoutError as error:
            raise LogUnavailable("what was written into the presence topic does not come back") from error
