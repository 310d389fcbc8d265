"""A task: a program run from its start to its end, commanded meanwhile, and told of by events.

Nothing that the program wrote is lost and none of it piles up: what is not published yet is bounded by the sink, and
when that has no room the program waits in its own `write`.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from lastseen.commands import Command, CommandName
from lastseen.envelope import Event
from lastseen.task_events import NOT_EXECUTABLE, NOT_FOUND, SIGNAL_BASE, Outcome, TaskEvents
from pydantic import JsonValue

from service.cancellation import is_cancelled
from service.domain.commands import ID_IN_USE, RUNNER_LOST, State
from service.domain.task_machine import NO_CONFIRMATION, STATUS, TABLE, Action, Input, Step
from service.domain.task_machine import State as TaskState
from service.running.adapter import Adapter, Published, RedactorMaker, ScreenMaker, ScreenState
from service.running.applied import AppliedCommands, Known
from service.running.ending import Patience
from service.running.guarded import GuardedAdapter
from service.running.input_writer import DEADLINE, NO_INPUT, InputWriter
from service.running.output_events import OutputEvents
from service.running.process import Process, spawn
from service.running.program import Program
from service.running.program_run import ProgramRun
from service.running.pump import Pump
from service.running.sink import EventSink
from service.running.tee import Tee
from service.running.telling import Teller

_INPUTS: Final = {
    CommandName.INPUT: Input.INPUT,
    CommandName.CONFIRM: Input.CONFIRM,
    CommandName.PAUSE: Input.PAUSE,
    CommandName.RESUME: Input.RESUME,
    CommandName.CANCEL: Input.CANCEL,
}
_LOST: Final = Outcome(SIGNAL_BASE + signal.SIGKILL, RUNNER_LOST)


class _Stop(NamedTuple):
    """That it is ended from outside: why, and by whom."""

    kind: Literal["cancelled", "timeout"]
    reason: str
    by: str | None


class TaskRun:
    """One program, run as the task of `events`.

    - `start` is the command that asked for it: its receipt follows the first event, which has the fields `told`, too.
    - `redact` and `screen` make what each stream, and a terminal, go through; the adapter sees what is redacted.
    - `stdout` and `stderr` are the descriptors that the output is written through to, as it is (None: to nowhere).
    - `warn` is told in a sentence what nobody else is; `on_start` of the process id, which with a group of its own is
      that of group and session, before anything is awaited.
    - `now` is the time that deadlines are compared with.
    """

    def __init__(
        self,
        sink: EventSink,
        events: TaskEvents,
        program: Program,
        adapter: Adapter,
        *,
        start: Command | None = None,
        told: Mapping[str, JsonValue] | None = None,
        patience: Patience | None = None,
        redact: RedactorMaker | None = None,
        screen: ScreenMaker | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        warn: Callable[[str], None],
        on_start: Callable[[int], None] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._events = events
        self._program = program
        self._told = told
        self._adapter = GuardedAdapter(adapter, warn)
        self._patience = patience or Patience()
        self._redact = redact
        self._screen = screen
        self._tees = {"stdout": Tee(stdout), "stderr": Tee(stderr), "pty": Tee(stdout)}
        self._warn = warn
        self._on_start = on_start
        self._now = now
        self._teller = Teller(sink, warn)
        self._applied = AppliedCommands()
        self._start = start
        if start is not None:
            self._applied.begin(start)
        self._output = OutputEvents(events, self._adapter, warn)
        self._state = TaskState.PENDING
        self._status = STATUS[TaskState.PENDING]
        """As it was told last."""
        self._life: asyncio.Task[Outcome] | None = None
        self._running: ProgramRun | None = None
        self._is_lost = False
        self._stop: _Stop | None = None

    @property
    def has_ended(self) -> bool:
        """Whether no command is applied any more: its last event has been said, or is being said."""
        return self._state is TaskState.ENDED

    @property
    def is_running(self) -> bool:
        """Whether the program has been started and has not ended."""
        return self._running is not None and self._running.process.returncode is None

    def send_signal(self, number: int) -> None:
        """Pass a signal on to the program, if it runs."""
        if self._running is not None:
            self._running.process.pass_on(number)

    def type(self, data: bytes) -> bool:
        """Write what is typed here to the program, behind what waits; whether it is to be written."""
        if self._writer is None or self._writer.problem is not None:
            return False
        self._writer.add(data)
        return True

    async def run(self) -> Outcome:
        """Run it to its end and publish all of it; back when the sink has it. Cancelled, it kills the program.

        The program starts once the log has `task_started`; raises what the sink does when that is refused.
        """
        if self.has_ended:
            return _LOST
        self._life = asyncio.ensure_future(self._live())
        try:
            return await self._life
        except asyncio.CancelledError:
            if self._is_lost and not is_cancelled():
                return _LOST
            raise

    async def reject(self, reason: str) -> None:
        """Instead of `run`: the task is not to be started. Raises what the sink does when `task_started` is refused."""
        self._take(Input.NOT_STARTED)
        await self._begin(State.REJECTED, reason)
        await self._say_end(Outcome(NOT_EXECUTABLE, reason))

    async def apply(self, command: Command) -> None:
        """Apply a command, at most once per user and id, and say what became of it.

        Called one after the other, commands are applied in that order. It waits only for room in the sink: never for
        the program, whose input is written when it takes it.
        """
        if self.has_ended:
            return  # nothing may follow the end; who asks is told by the end itself
        known = self._applied.find(command)
        if known is not None:
            await self._repeat(command, known)
            return
        self._applied.begin(command)
        if command.deadline < self._now():
            await self._settle(command, State.EXPIRED, DEADLINE)
        elif (wanted := _INPUTS.get(command.command)) is None:
            await self._settle(command, State.REJECTED, ID_IN_USE)  # another start of a task that there is
        else:
            await self._do(command, wanted)

    def cancel(self, reason: str) -> None:
        """As a `task_cancel` of ours; `reason` is the end's."""
        if self._take(Input.CANCEL).action is not Action.REJECT:
            self._stop = _Stop("cancelled", reason, None)

    def lose(self) -> None:
        """The lease is lost: end the program at once and publish nothing more. `run` gives the reason `runner_lost`."""
        if not self._is_lost:
            self._is_lost = True
            self._take(Input.LOST)

    async def _live(self) -> Outcome:
        await self._begin(State.APPLIED, None)
        outcome = await self._run_program()
        await self._say_end(outcome)
        return outcome

    async def _begin(self, state: State, reason: str | None) -> None:
        cwd = self._program.cwd or os.getcwd()
        await self._teller.begin(self._events.started(self._program.argv, cwd, self._told))
        if self._start is not None:
            await self._settle(self._start, state, reason)

    async def _say_end(self, outcome: Outcome) -> None:
        left = [] if self._writer is None else self._writer.give_up()
        receipts = [self._events.receipt(*one) for one in left]
        await self._teller.say(*receipts, *self._events.ended(outcome, self._status))
        await self._teller.flush()

    async def _run_program(self) -> Outcome:
        program = self._program
        if self._state is not TaskState.PENDING:
            self._take(Input.NOT_STARTED)
            return self._stopped(Outcome(SIGNAL_BASE + signal.SIGINT, "cancelled"))
        try:
            process = spawn(program, self._adapter.command(program.argv), input_=self._adapter.needs_input)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._take(Input.NOT_STARTED)
            what = (error.strerror if isinstance(error, OSError) else None) or error
            self._warn(f"{program.argv[0]}: {what}")
            return _not_started(error)
        return await self._run_process(process)

    async def _run_process(self, process: Process) -> Outcome:
        writer = None
        if process.stdin is not None:
            writer = InputWriter(process.stdin, self._accept, self._settle, process.close_stdin)
            writer.add(self._adapter.opening)
        try:
            self._running = running = ProgramRun(process, self._pumps(process), writer, self._patience, self._warn)
            if self._on_start is not None:
                self._on_start(process.pid)
        except BaseException:
            process.send(signal.SIGKILL)
            process.close()
            raise
        timeout = self._program.timeout_seconds
        timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, self._time_up)
        try:
            returncode = await running.run(self._say_started, self._exited)
            self._take(Input.OVER)
        finally:
            self._state = TaskState.ENDED
            if timer is not None:
                timer.cancel()
        return self._stopped(Outcome.of(returncode))

    async def _say_started(self) -> None:
        self._take(Input.STARTED)
        assert self._running is not None
        await self._teller.say(*self._status_events({"pid": self._running.process.pid}))

    def _exited(self, has_heirs: bool) -> None:
        self._take(Input.LEFT_HEIRS if has_heirs else Input.EXITED)

    def _pumps(self, process: Process) -> list[Pump]:
        size = self._program.pty
        return [
            Pump(
                stream=stream,
                tee=self._tees[stream.name],
                adapter=self._adapter,
                publish=self._publish,
                publish_screen=self._publish_screen,
                redactor=self._redact() if self._redact is not None else None,
                screen=self._screen(*size) if self._screen is not None and size is not None else None,
            )
            for stream in process.streams
        ]

    def _take(self, what: Input) -> Step:
        """What happened, by the table; what is done about it at once is done."""
        step = TABLE[self._state][what]
        self._state = step.state
        match step.action:
            case Action.STOP:
                self._send(signal.SIGSTOP)
            case Action.CONTINUE:
                self._send(signal.SIGCONT)
            case Action.END_GROUP:
                assert self._running is not None
                self._running.end()
            case Action.KILL:
                self._teller.silence()
                self._send(signal.SIGKILL)
                if self._life is not None:
                    self._life.cancel()
            case _:
                pass
        return step

    def _send(self, number: int) -> None:
        if self._running is not None:
            self._running.process.send(number)

    @property
    def _writer(self) -> InputWriter | None:
        return None if self._running is None else self._running.writer

    def _time_up(self) -> None:
        if self._take(Input.TIME_UP).action is Action.END_GROUP:
            self._stop = _Stop("timeout", "timeout", None)

    def _stopped(self, outcome: Outcome) -> Outcome:
        stop = self._stop
        return outcome if stop is None else replace(outcome, reason=stop.reason, stopped=stop.kind, by=stop.by)

    async def _do(self, command: Command, wanted: Input) -> None:
        step = self._take(wanted)
        match step.action:
            case Action.REJECT:
                await self._settle(command, State.REJECTED, step.reason)
            case Action.WRITE:
                await self._write(command)
            case Action.STOP:
                self._output.hide()
                events = [self._events.said("task_paused", {"by": command.user_id}), *self._status_events()]
                await self._settle(command, State.APPLIED, None, *events)
            case Action.CONTINUE:
                events = [self._events.said("task_resumed", {"by": command.user_id}), *self._status_events()]
                await self._settle(command, State.APPLIED, None, *events, *self._questions())
            case _:
                self._stop = _Stop("cancelled", "cancelled", command.user_id)
                await self._settle(command, State.APPLIED, None)

    async def _write(self, command: Command) -> None:
        problem = NO_INPUT if self._writer is None else self._writer.problem
        data: bytes | None = None
        if problem is None and command.command is CommandName.INPUT:
            data = self._adapter.input(str(command.data["input"]))
        elif problem is None:
            data = self._adapter.confirm(str(command.data["confirmation_id"]), command.data["approved"] is True)
            problem = NO_CONFIRMATION if data is None else None
        if self._writer is None or data is None:
            await self._settle(command, State.REJECTED, problem)
            return
        left = (command.deadline - self._now()).total_seconds()
        self._writer.add(data, command, asyncio.get_running_loop().time() + left)
        await asyncio.sleep(0)  # many at once must not fill the room before the first of them is written

    async def _repeat(self, command: Command, known: Known) -> None:
        """It has come before, or another with its id has."""
        if not self._applied.is_same(known, command):
            await self._teller.say(self._events.receipt(command, State.REJECTED, ID_IN_USE, command.node))
        elif known.state is not None:
            await self._teller.say(self._receipt(command, known.state, known.reason))

    async def _accept(self, command: Command) -> None:
        await self._teller.say(self._events.receipt(command, State.ACCEPTED))

    async def _settle(self, command: Command, state: State, reason: str | None, *events: Event) -> None:
        """Say what became of a command, behind `events`: it is known from now on."""
        if (known := self._applied.find(command)) is not None:
            known.state, known.reason = state, reason
        if command.command is CommandName.CONFIRM:
            events = (*events, *self._asking_events())
        await self._teller.say(*events, self._receipt(command, state, reason))

    def _receipt(self, command: Command, state: State, reason: str | None) -> Event:
        return self._events.receipt(command, state, reason, command.node if reason == ID_IN_USE else None)

    async def _publish(self, published: Sequence[Published]) -> None:
        """What an adapter gave, in one step with what it makes of the task."""
        events = self._output.of(published, paused=self._state in (TaskState.PAUSED, TaskState.PAUSED_WAITING))
        events += self._asking_events()
        if self._writer is not None and self._adapter.input_ends:
            self._writer.end()
        if events:
            await self._teller.say(*events)

    async def _publish_screen(self, screen: ScreenState) -> None:
        await self._teller.say(self._events.said("task_screen", screen.to_data()))

    def _asking_events(self) -> list[Event]:
        """Whether a question is open may have changed."""
        self._take(Input.ASKED if self._output.is_asking else Input.ANSWERED)
        return [*self._status_events(), *self._questions()]

    def _questions(self) -> list[Event]:
        return self._output.question() if self._state is TaskState.WAITING else []

    def _status_events(self, more: Mapping[str, JsonValue] | None = None) -> list[Event]:
        """What tells of the status, where it is not what was told last."""
        status, previous = STATUS.get(self._state), self._status
        if status is None or status == previous:
            return []
        self._status = status
        return [self._events.status(status, previous, more)]


def _not_started(error: Exception) -> Outcome:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Outcome(NOT_FOUND, "not_found")
    return Outcome(NOT_EXECUTABLE, "not_executable")
