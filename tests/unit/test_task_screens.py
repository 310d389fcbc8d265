"""The screen of a task as of a position: the newest that was told and what was written since, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lastseen.chunks import Chunk
from lastseen.envelope import Event
from lastseen.positions import Position
from lastseen.record import encode
from pydantic import JsonValue

from service.adapters.clock import SystemClock
from service.adapters.memory import MemoryLog
from service.node import task_screens
from service.node.node import Node, running
from service.node.states import TaskAnswer
from service.ports import Epoch
from service.running.screen import Screen
from service.screens import TerminalScreens
from service.settings import Settings
from tests.outside import outside_of

PTY: dict[str, JsonValue] = {"pty": True, "columns": 20, "rows": 3}


def event(type_: str, data: Mapping[str, Any] | None = None, task: str = "t", project: str = "p") -> Event:
    return Event.model_validate({"type": type_, "task_id": task, "project_id": project, "data": dict(data or {})})


class Terminal:
    """Writes, and keeps what was written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes, stream: str = "pty") -> Event:
        chunk = Chunk(stream, len(self.written), data)
        self.written += data
        return event("task_output", chunk.to_data())

    @property
    def drawn(self) -> Screen:
        screen = Screen(20, 3)
        screen.feed(self.written)
        return screen

    def screen(self) -> Event:
        snapshot = self.drawn.snapshot()
        assert snapshot is not None
        return event("task_screen", snapshot.to_data())


@asynccontextmanager
async def node_of(*events: Event) -> AsyncIterator[tuple[Node, MemoryLog]]:
    log = MemoryLog(2)
    await log.append([encode(event) for event in events])
    async with running(Settings(), outside_of(log, SystemClock()), Epoch(1, "e", 2)) as node:
        yield node, log


async def answer_of(*events: Event) -> TaskAnswer:
    async with node_of(*events) as (node, _):
        answer = await node.services.states.task("t")
    assert answer is not None
    return answer


async def screen_of(*events: Event) -> Mapping[str, Any] | None:
    return (await answer_of(*events)).screen


def same(screen: Mapping[str, Any] | None, terminal: Terminal) -> bool:
    """Whether it draws what the terminal shows, with the cursor there, and is of all that was written."""
    expected = terminal.drawn.snapshot()
    assert screen is not None
    assert expected is not None
    redrawn = Screen(20, 3)
    redrawn.feed(str(screen["text"]).encode())
    shown = redrawn.snapshot()
    assert shown is not None
    return (shown.text, screen["cursor"], screen["offset"]) == (
        expected.text,
        expected.to_data()["cursor"],
        expected.offset,
    )


async def test_a_screen_before_the_first_was_told() -> None:
    terminal = Terminal()
    events = [event("task_started", PTY)]
    empty = await screen_of(*events)
    assert empty is not None
    assert (empty["columns"], empty["rows"], empty["offset"]) == (20, 3, 0)
    events += [terminal.write(b"$ make\r\n"), event("task_progress_update"), terminal.write(b"\x1b[31mred")]
    assert same(await screen_of(*events), terminal)


async def test_only_what_follows_the_newest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(TerminalScreens):
        async def after(
            self, columns: int, rows: int, snapshot: Mapping[str, Any] | None, chunks: Sequence[Chunk]
        ) -> Mapping[str, JsonValue] | None:
            asked.append(len(chunks))
            return await super().after(columns, rows, snapshot, chunks)

    monkeypatch.setattr("tests.outside.TerminalScreens", Counting)
    terminal = Terminal()
    events = [event("task_started", PTY), *(terminal.write(b"line\r\n") for _ in range(50)), terminal.screen()]
    events += [*(terminal.write(b"more\r\n") for _ in range(50)), terminal.screen()]
    events += [terminal.write(b"\x1b[1;1"), event("task_paused"), terminal.write(b"Hthere")]
    answer = await answer_of(*events)
    assert same(answer.screen, terminal)
    assert asked == [2]
    assert answer.task.state == "paused", "a screen says nothing of the state"


async def test_a_screen_told_inside_a_character() -> None:
    terminal = Terminal()
    events = [event("task_started", PTY), terminal.write("é".encode()[:1]), terminal.screen()]
    assert events[-1].data["offset"] == 0
    events.append(terminal.write("é".encode()[1:] + b"!"))
    assert same(await screen_of(*events), terminal)


async def test_the_screen_is_of_the_position_and_of_the_task() -> None:
    terminal = Terminal()
    other = Terminal()
    other.write(b"claims to be it")
    foreign = other.screen().model_copy(update={"project_id": "q"})
    begun = [event("task_started", PTY), terminal.write(b"one"), foreign, event("task_started", PTY, "u")]
    async with node_of(*begun) as (node, log):
        answer = await node.services.states.task("t")
        assert answer is not None
        assert same(answer.screen, terminal)
        await log.append([encode(terminal.write(b" two")), encode(terminal.screen())])
        later = await node.services.states.task("t")
        assert later is not None
        assert same(later.screen, terminal)
        assert max(Position.parse(later.position).offsets.values()) > max(
            Position.parse(answer.position).offsets.values()
        )
    ended = [*begun, event("task_completed"), terminal.write(b" three"), terminal.screen()]
    last = await answer_of(*ended)
    assert last.screen is not None
    assert last.screen["offset"] == 3, "what follows the end is void"


async def test_who_has_no_terminal_has_no_screen() -> None:
    terminal = Terminal()
    for start in ({}, {"pty": False}):
        assert await screen_of(event("task_started", start), terminal.write(b"x", "stdout")) is None
    assert await screen_of(event("task_progress_update"), terminal.screen()) is None, "nothing has started it"


async def test_what_is_missing_or_broken_is_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    started = event("task_started", PTY)
    terminal.written = b"lost"
    assert await screen_of(started, terminal.write(b"x")) is None
    assert await screen_of(started, event("task_screen", {"columns": 20}), terminal.write(b"x")) is None
    odd = event("task_output", {"stream": "pty"})
    terminal = Terminal()
    assert same(await screen_of(started, odd, terminal.write(b"x"), odd), terminal)
    monkeypatch.setattr(task_screens, "_MOST_BYTES", 10)
    terminal = Terminal()
    written = [started, terminal.write(b"12345"), terminal.write(b"67890")]
    assert same(await screen_of(*written), terminal)
    assert await screen_of(*written, terminal.write(b"1")) is None, "too much"


async def test_many_ask_at_once() -> None:
    terminal = Terminal()
    async with node_of(event("task_started", PTY), terminal.write(b"hello")) as (node, _):
        answers = await asyncio.gather(*(node.services.states.task("t") for _ in range(20)))
    assert all(answer is not None and same(answer.screen, terminal) for answer in answers)
