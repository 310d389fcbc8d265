"""The tasks of one incarnation: which starts it takes, and who gets which command."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from lastseen.commands import Command, CommandName
from lastseen.errors import Closed, LastseenError
from lastseen.task_events import NOT_EXECUTABLE, Outcome, TaskEvents
from lastseen.task_start import TaskStart
from pydantic import JsonValue

from consumers.running.admission import Admission, NotAdmitted
from consumers.running.claims import Claims
from consumers.running.guard import Guard
from consumers.running.held import HeldTask
from consumers.running.programs import Programs
from service.adapters.kafka.sink import LogSink
from service.domain.errors import BadRequest
from service.ports import Claim
from service.running.adapters.named import adapter_named
from service.running.task_run import TaskRun

logger = logging.getLogger(__name__)

MOST_STARTING: Final = 1_000
"""Starts that wait for their turn. A further one is passed over: another runner may take it."""
BUSY_SECONDS: Final = 1.0
"""How long a runner that is nearly full lets the others go first; one that is idle, or alone, goes at once."""
JITTER_SECONDS: Final = 0.02
REFUSING_SECONDS: Final = 1.0
"""How long one that does not allow a start waits for one that does."""
RUNNER_FAILED: Final = "runner_failed"


class OwnLease(Protocol):
    """What is asked of this incarnation's lease."""

    @property
    def is_lost(self) -> bool:
        """Whether it is known to be lost."""
        ...

    async def admit(self) -> None:
        """Waits until it is certain that it is held. Raises Closed."""
        ...


class Holder:
    """Holds at most `most` tasks. A start that finds no room waits for it, up to its deadline."""

    def __init__(
        self,
        *,
        runner: str,
        name: str,
        most: int,
        claims: Claims,
        lease: OwnLease,
        admission: Admission,
        programs: Programs,
        guard: Guard,
        sink: Callable[[], LogSink],
        has_others: Callable[[], bool],
    ) -> None:
        self._runner = runner
        self._name = name
        self._most = most
        self._claims = claims
        self._lease = lease
        self._admission = admission
        self._programs = programs
        self._guard = guard
        self._sink = sink
        self._has_others = has_others
        self._room = asyncio.Semaphore(most)
        self._held: dict[str, HeldTask] = {}
        self._sinks: dict[str, LogSink] = {}
        # What came for a task while it was being claimed here, its start first.
        self._starting: dict[str, deque[Command]] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._undecided: dict[str, asyncio.Task[None]] = {}
        self._takes_starts = True

    def take(self, command: Command) -> None:
        """The next command of the topic, whoever it is for."""
        task = command.task_id
        if (held := self._held.get(task)) is not None:
            held.take(command)
        elif (waiting := self._starting.get(task)) is not None:
            if len(waiting) < MOST_STARTING:
                waiting.append(command)
        elif command.command is CommandName.START and self._takes_starts and not _is_late(command):
            if len(self._starting) >= MOST_STARTING:
                logger.warning("start of task %s is passed over: %d wait", task, MOST_STARTING)
                return
            self._starting[task] = deque([command])
            life = self._undecided[task] = asyncio.create_task(self._consider(command))
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)

    def close(self) -> None:
        """Take no more starts, those included that wait for their turn."""
        self._takes_starts = False
        for life in self._undecided.values():
            life.cancel()

    def cancel(self, reason: str) -> None:
        """End all tasks, as if somebody had cancelled them."""
        for held in self._held.values():
            held.run.cancel(reason)

    def lose(self) -> None:
        """The lease is lost: end all programs at once and say nothing more."""
        self.close()
        for sink in self._sinks.values():
            sink.close()
        for held in self._held.values():
            held.run.lose()

    async def until_idle(self) -> None:
        """Wait until no task is held, and none will be that was not asked for by now."""
        while self._lives:
            await asyncio.wait(self._lives)

    async def _consider(self, command: Command) -> None:
        """Take the task of a start, if it is to be ours, and run it to its end."""
        try:
            await self._start(command)
        except Exception:
            logger.exception("task %s is given up", command.task_id)
        finally:
            self._starting.pop(command.task_id, None)
            self._undecided.pop(command.task_id, None)

    async def _start(self, command: Command) -> None:
        start = TaskStart.model_validate(command.data)
        reason: str | None = None
        try:
            program = self._admission.admit(start)
            adapter = adapter_named(start.adapter)
        except NotAdmitted as error:
            reason, program, adapter = error.reason, self._admission.refused(start), adapter_named("plain")
        except BadRequest as error:
            logger.warning("task %s: %s", command.task_id, error)
            reason, adapter = error.code, adapter_named("plain")
        if self._has_others():
            load = (len(self._held) + len(self._starting) - 1) / self._most
            politeness = BUSY_SECONDS * load + JITTER_SECONDS * random.random()  # noqa: S311 - not a secret
            await asyncio.sleep(politeness + (REFUSING_SECONDS if reason else 0))
        if not await self._find_room(command):
            return
        self._undecided.pop(command.task_id, None)
        sessions: list[int] = []
        begun = asyncio.Event()

        def watch(session: int) -> None:
            begun.set()
            sessions.append(session)
            self._guard.watch(session)

        try:
            claim = Claim(command.task_id, self._runner, command.id, command.user_id, command.project_id)
            if not await self._claims.make(claim, lambda: _left(command) if self._takes_starts else 0.0):
                return
            async with self._sink() as sink:
                events = TaskEvents(command.task_id, command.project_id, command.user_id)
                run = TaskRun(
                    sink,
                    events,
                    program,
                    adapter,
                    start=command,
                    told=_told(start, self._name),
                    patience=self._programs.patience,
                    redact=self._programs.redact,
                    screen=self._programs.screen,
                    warn=lambda text: logger.warning("task %s: %s", command.task_id, text),
                    on_start=watch,
                )
                await self._hold(HeldTask(claim.task, run, begun, self._lease.admit), claim, sink, reason)
        finally:
            for session in sessions:
                self._guard.forget(session)
            self._room.release()

    async def _find_room(self, command: Command) -> bool:
        try:
            async with asyncio.timeout(_left(command)):
                await self._room.acquire()
        except TimeoutError:
            return False
        return True

    async def _hold(self, held: HeldTask, claim: Claim, sink: LogSink, reason: str | None) -> None:
        self._sinks[claim.task] = sink
        # In one step, so that no command falls between.
        self._held[claim.task] = held
        for later in list(self._starting.pop(claim.task, ()))[1:]:
            held.take(later)
        try:
            if reason is not None:
                logger.info("task %s is not started: %s", claim.task, reason)
                await held.run.reject(reason)
            else:
                logger.info("task %s is started", claim.task)
                await held.live()
        except* Closed:
            logger.warning("task %s is not ours any more", claim.task)
        except* LastseenError as group:
            logger.error("task %s could not be started: %s", claim.task, group.exceptions[0])
            await _say_failed(claim, sink)
        except* Exception:
            logger.exception("task %s has failed here", claim.task)
            await _say_failed(claim, sink)
        finally:
            del self._held[claim.task]
            del self._sinks[claim.task]
        # Of a lost one's tasks the judge tells, for as long as their claims have not ended.
        if not self._lease.is_lost:
            self._claims.end(claim)


async def _say_failed(claim: Claim, sink: LogSink) -> None:
    """It must not seem to run for ever."""
    events = TaskEvents(claim.task, claim.project, claim.user)
    try:
        for event in events.ended(Outcome(NOT_EXECUTABLE, RUNNER_FAILED), "running"):
            await sink.submit(event)
        await sink.flush()
    except Closed:
        return


def _told(start: TaskStart, name: str) -> dict[str, JsonValue]:
    """What its first event says beside command and folder. Of the environment the names: values may be secrets."""
    return {
        "adapter": start.adapter,
        "pty": start.pty,
        **({"columns": start.columns, "rows": start.rows} if start.pty else {}),
        "env": [*sorted(start.env)],
        "runner": name,
    }


def _left(command: Command) -> float:
    return (command.deadline - datetime.now(UTC)).total_seconds()


def _is_late(command: Command) -> bool:
    return _left(command) <= 0
