"""What this node writes into the presence topic: its lease, what it holds, its questions and answers."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Final

from service.domain.errors import LogUnavailable
from service.domain.presence_records import (
    Answer,
    Lease,
    Question,
    asking_keys,
    entry_of,
    holding_key,
    lease_key,
)
from service.node.held import Held
from service.node.pace import Pace
from service.ports import PresenceLog

_log = logging.getLogger(__name__)
_BATCH: Final = 200
MAX_MAIL: Final = 1000
"""Questions and answers that wait to be written; when there are more the oldest goes, its asker no longer waits."""
RENEWALS: Final = 3
"""How often a lease is renewed in its time."""
_RETRY_SECONDS: Final = 0.5
_LEAVE_SECONDS: Final = 2.0
_YIELD_SECONDS: Final = 2.0
"""How long what is held waits, nobody asking for it, while others are coming."""

Entry = tuple[str, bytes | None]


class Outbox:
    """Writes in order: the lease when it is due, then what is held, then questions and answers.

    So an answer comes behind all that its node held when it was given.
    """

    def __init__(self, log: PresenceLog, node: str, lease_seconds: float, incarnation: str, pace: Pace) -> None:
        self.held = Held(self._wake_up)
        self.incarnation = incarnation
        self._log = log
        self._node = node
        self._lease_seconds = lease_seconds
        self._pace = pace
        self._mail: deque[Question | Answer] = deque(maxlen=MAX_MAIL)
        self._written: set[str] = set()
        """Users of whom this incarnation has written a holding."""
        self._leftover: list[str] = []
        self._renew_at = 0.0
        self._wake = asyncio.Event()

    def rejoin(self, incarnation: str) -> None:
        """Go on as another incarnation: the former has been given up for lost, and takes back what it wrote since."""
        self._leftover = self._keys()
        self.incarnation = incarnation
        self._written.clear()
        self._renew_at = 0.0
        self.held.tell_all()

    def post(self, mail: Question | Answer) -> None:
        """Write it soon."""
        self._mail.append(mail)
        self._wake_up()

    async def run(self) -> None:
        """Write until cancelled; goes on by itself when Kafka comes back."""
        loop = asyncio.get_running_loop()
        is_away = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._renew_at):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while self.held.has_untold or self._mail or loop.time() >= self._renew_at:
                    if not self._mail:
                        await self._pace.quiet(min(_YIELD_SECONDS, max(self._renew_at - loop.time(), 0.0)))
                    await self._write(loop.time())
                is_away = False
            except LogUnavailable as error:
                if not is_away:
                    _log.warning("presence is not told to the other nodes, trying again: %s", error)
                is_away = True
                await asyncio.sleep(_RETRY_SECONDS)

    async def leave(self) -> None:
        """Write that this node and all it held are gone, if that can be done in a moment."""
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._log.append([(key, None) for key in self._keys()])
        except (LogUnavailable, TimeoutError) as error:
            _log.warning("could not say goodbye to the other nodes, they will notice by themselves: %s", error)

    def _keys(self) -> list[str]:
        incarnation = self.incarnation
        held = [holding_key(incarnation, user) for user in self._written]
        return [*held, *asking_keys(incarnation), lease_key(incarnation)]

    async def _write(self, now: float) -> None:
        leftover = self._leftover
        entries: list[Entry] = [(key, None) for key in leftover]
        incarnation, renew_at = self.incarnation, self._renew_at
        if now >= renew_at:
            entries.append(entry_of(Lease(incarnation, self._node, round(self._lease_seconds * 1000))))
            renew_at = now + self._lease_seconds / RENEWALS
        users = self.held.take_untold(_BATCH)
        gone: list[str] = []
        for user in users:
            holding = self.held.holding(incarnation, user)
            if holding is not None:
                entries.append(entry_of(holding))
                self._written.add(user)
            elif user in self._written:
                entries.append((holding_key(incarnation, user), None))
                gone.append(user)
        if not self.held.has_untold:
            entries += [entry_of(mail) for mail in self._mail]
            self._mail.clear()
        if not entries:
            return
        try:
            await self._log.append(entries)
        except BaseException:
            self.held.untold_again(users)
            raise
        if incarnation == self.incarnation:
            self._renew_at = renew_at
            self._written.difference_update(gone)
            self._leftover = []

    def _wake_up(self) -> None:
        self._wake.set()
