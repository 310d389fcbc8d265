"""Looking after the other runners: who is lost, and that its tasks end where everybody sees it."""

import asyncio
import logging
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NoReturn

from lastseen.envelope import Event
from lastseen.record import encode
from lastseen.task_events import TaskEvents

from consumers.running.clock import uptime
from service.domain.commands import RUNNER_LOST
from service.domain.errors import Unavailable
from service.domain.leases import Watch
from service.ports import Claim, EventLog, Leases, RightsLoader

logger = logging.getLogger(__name__)

AT_ONCE: Final = 100
SWEEP_SECONDS: Final = 3_600.0
SWEEP_DAYS: Final = 2
"""Longer than the topic keeps a command: nobody starts a task anew whose start is read once more."""


class Judge:
    """Says which of the others are lost, and ends their tasks in their place.

    Whoever has shown no renewal for `patience` seconds is lost, if we have looked at least every third of that.
    """

    def __init__(self, leases: Leases, rights: RightsLoader, log: EventLog, runner: str, patience: float) -> None:
        self._leases = leases
        self._rights = rights
        self._log = log
        self._runner = runner
        self.sees_others = False
        """Whether other runners live."""
        self._every = min(1.0, patience / 5)
        self._watch = Watch(patience, max(patience / 3, 2 * self._every))

    async def run(self) -> NoReturn:
        """Until cancelled; what is away is tried again."""
        away = False
        swept: float | None = None
        while True:
            try:
                await self._judge()
                await self._end_tasks()
                if swept is None or uptime() - swept > SWEEP_SECONDS:
                    await self._leases.sweep(SWEEP_DAYS)
                    swept = uptime()
                away = False
            except Unavailable as error:
                if not away:
                    logger.warning("nobody can be judged now: %s", error)
                away = True
            await asyncio.sleep(self._every)

    async def _judge(self) -> None:
        asked = uptime()
        renewals = await self._leases.renewals()
        self.sees_others = any(runner != self._runner for runner in renewals)
        for runner, renewal in self._watch.look(asked, uptime(), renewals).items():
            if runner != self._runner and await self._leases.lose(runner, renewal):
                logger.warning("runner %s is lost: its tasks are ended as %s", runner, RUNNER_LOST)

    async def _end_tasks(self) -> None:
        while claims := (await self._leases.lost())[:AT_ONCE]:
            await self._end(claims)

    async def _end(self, claims: Sequence[Claim]) -> None:
        events: list[Event] = []
        for claim in claims:
            # It may have ended its task without having been able to say so here; behind an end an end is void, if that
            # was not too many records ago.
            if not any(said.ended for said in (await self._rights.task(claim.task)).claims):
                events += lost_events(claim)
        await self._log.append([encode(event) for event in events])
        await self._leases.end(claims)
        for claim in claims:
            logger.info("task %s of runner %s is over", claim.task, claim.runner)


def lost_events(claim: Claim) -> tuple[Event, Event]:
    """The end of a task whose runner is lost. Of two judges' the second ones are void: their ids are the same."""
    events = TaskEvents(claim.task, claim.project, claim.user)
    name = blake2b(f"{claim.runner}\0{claim.task}".encode(), digest_size=16).hexdigest()
    status = events.said("task_status_change", {"status": "failed"})
    end = events.said("task_failed", {"reason": RUNNER_LOST})
    return (
        status.model_copy(update={"id": f"{RUNNER_LOST}-status-{name}"}),
        end.model_copy(update={"id": f"{RUNNER_LOST}-{name}"}),
    )
