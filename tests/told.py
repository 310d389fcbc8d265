"""A sink that keeps the events of tasks, and what they say together."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lastseen.answers import Place
from lastseen.chunks import read_chunk
from lastseen.commands import Command, CommandName
from lastseen.envelope import Event
from lastseen.names import TERMINAL_TYPES
from lastseen.task_events import Outcome, TaskEvents
from lastseen.task_state import TaskView

from service.running.adapter import Adapter
from service.running.adapters.plain import PlainAdapter
from service.running.ending import Patience
from service.running.program import Program
from service.running.task_run import TaskRun
from tests.waiting import until

QUICK = Patience(after_interrupt=0.3, after_terminate=0.3)


@dataclass
class Told:
    """Takes events while there is room."""

    log: list[Event] = field(default_factory=list)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Callable[[Event], Exception | None] = lambda event: None

    def __post_init__(self) -> None:
        self.room.set()

    async def submit(self, event: Event) -> "asyncio.Future[Place]":
        await self.room.wait()
        place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        if (error := self.answer(event)) is not None:
            place.set_exception(error)
        else:
            self.log.append(event)
            place.set_result(Place(event.id, 0, len(self.log), False))
        return place

    async def flush(self) -> None:
        await self.room.wait()

    @property
    def short(self) -> list[str]:
        """The events, without output, in a word or two each."""
        return [_short(event) for event in self.log if event.type != "task_output"]

    @property
    def last(self) -> dict[str, Any]:
        """The data of the last event."""
        return self.log[-1].data

    @property
    def view(self) -> TaskView:
        """What a reader makes of all of them."""
        view = TaskView()
        for event in self.log:
            view = view.after(event.model_dump())
        return view

    def receipts(self, command_id: str) -> list[str]:
        """What was said of a command."""
        return [
            " ".join(str(event.data[key]) for key in ("state", "reason") if key in event.data)
            for event in self.log
            if event.type == "task_command" and event.data["command_id"] == command_id
        ]

    def output(self, stream: str = "stdout") -> bytes:
        """The bytes of a stream, which must leave none out."""
        joined = bytearray()
        for event in self.log:
            if event.type == "task_output" and event.data["stream"] == stream:
                chunk = read_chunk(event.data)
                assert chunk.offset == len(joined)
                assert len(chunk.raw) <= 16 * 1024
                joined += chunk.raw
        return bytes(joined)


def _short(event: Event) -> str:
    match event.type:
        case "task_status_change":
            return f"{event.data['previous']}>{event.data['status']}"
        case "task_command":
            return " ".join(str(event.data[key]) for key in ("command", "state", "reason") if key in event.data)
        case name:
            return name


@dataclass
class Held:
    """A task that runs while the test goes on."""

    told: Told
    run: TaskRun
    life: "asyncio.Task[Outcome]"
    warnings: list[str]

    async def until_output(self, part: bytes, stream: str = "stdout") -> None:
        """Wait for it."""
        await until(lambda: part in self.told.output(stream), what=f"{part!r} in {stream}: {self.told.short}")

    async def apply(self, command: str, *, id: str | None = None, user: str = "u1", **data: Any) -> list[str]:  # noqa: A002
        """What is said of a command, once that is final; as much as there is where the task has ended."""
        made = command_of(command, id=id, user=user, **data)
        before = len(self._final(made.id))
        await self.run.apply(made)
        await until(lambda: self.run.has_ended or len(self._final(made.id)) > before, what=f"a receipt of {made}")
        return self.told.receipts(made.id)

    def _final(self, command_id: str) -> list[str]:
        return [receipt for receipt in self.told.receipts(command_id) if receipt != "accepted"]

    def ended_once(self) -> bool:
        """Whether there is one terminal event, and nothing behind it."""
        return [event.type in TERMINAL_TYPES for event in self.told.log].index(True) == len(self.told.log) - 1


_count = iter(range(1_000_000))


def command_of(
    name: str,
    /,
    *,
    id: str | None = None,  # noqa: A002 - the envelope's word
    user: str = "u1",
    seconds: float = 60.0,
    node: str = "n1",
    **data: Any,
) -> Command:
    """A command for the task `t`."""
    return Command(
        id=id or f"c{next(_count)}",
        command=CommandName(name),
        task_id="t",
        user_id=user,
        deadline=datetime.now(UTC) + timedelta(seconds=seconds),
        node=node,
        data=data,
    )


def held(
    *argv: str, adapter: Adapter | None = None, told: Told | None = None, options: Any = None, **program: Any
) -> Held:
    """Start a program as the task `t`; `options` are TaskRun's."""
    told = told or Told()
    warnings: list[str] = []
    run = TaskRun(
        told,
        TaskEvents("t", "p", "u0"),
        Program(argv, **program),
        adapter or PlainAdapter(),
        warn=warnings.append,
        **{"patience": QUICK, **(options or {})},
    )
    return Held(told, run, asyncio.create_task(run.run()), warnings)


async def ran(*argv: str, **options: Any) -> tuple[Held, Outcome]:
    """The same, to its end."""
    one = held(*argv, **options)
    return one, await one.life


def python(script: str) -> Sequence[str]:
    """The arguments that run a script."""
    return ("python3", "-u", "-c", script)
