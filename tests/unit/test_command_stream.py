"""The commands of a task as Server-Sent Events: what whoever runs it is told, and where he goes on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from lastseen.commands import Command, CommandName
from lastseen.envelope import Event
from lastseen.positions import Position
from lastseen.record import encode

from service.adapters.clock import SystemClock
from service.adapters.memory import MemoryLog
from service.adapters.memory_commands import MemoryCommands
from service.domain.identity import Identity
from service.node import command_feed
from service.node.command_stream import CommandStream
from service.node.command_window import CommandWindow
from service.node.node import Node, running
from service.ports import CommandBatch, Epoch
from service.settings import Settings
from tests.event_source import EventSource
from tests.outside import outside_of
from tests.waiting import until

FAR = 2**31


def identity(user: str, role: str = "") -> Identity:
    return Identity(user, role, frozenset(), frozenset({"publish"}), FAR)


ANN = identity("ann")


def event(**fields: Any) -> Event:
    return Event.model_validate(fields)


class World:
    """A node with its twins, and the topic of commands."""

    def __init__(self, log: MemoryLog, commands: MemoryCommands, node: Node) -> None:
        self.log = log
        self.commands = commands
        self.node = node

    async def tell(self, *events: Event) -> None:
        await self.log.append([encode(event) for event in events])

    async def send(self, *ids: str, task: str = "t", late_by: float = -60, text: str = "x") -> None:
        for id_ in ids:
            await self.commands.append(
                Command(
                    id=id_,
                    command=CommandName.INPUT,
                    task_id=task,
                    user_id="bob",
                    deadline=datetime.now(UTC) - timedelta(seconds=late_by),
                    node="n",
                    data={"input": text},
                )
            )


class Reader:
    """Takes the frames of a stream, until it is cut."""

    def __init__(self, node: Node, after: str = "", who: Identity = ANN) -> None:
        self.node = node
        self.source = EventSource(last_event_id=after)
        stream = node.open_command_stream(who, "t", Position.parse(after) if after else None)
        assert stream is not None
        self.stream: CommandStream = stream
        self._taking: asyncio.Task[None] = asyncio.create_task(self._take())

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.source.events]

    @property
    def place(self) -> str:
        return self.source.last_event_id

    @property
    def is_over(self) -> bool:
        return self._taking.done()

    async def until_heard(self, ids: Sequence[str]) -> None:
        await until(lambda: len(self.ids) >= len(ids), what=f"{ids} being heard")
        assert self.ids == list(ids)

    async def cut(self) -> None:
        self._taking.cancel()
        await asyncio.gather(self._taking, return_exceptions=True)
        self.node.close_stream(self.stream)

    async def _take(self) -> None:
        async with aclosing(self.stream.frames()) as frames:
            async for frame in frames:
                assert frame
                if not frame.startswith(b":"):
                    self.source.feed(frame)


@asynccontextmanager
async def world(**settings: object) -> AsyncIterator[World]:
    """Task t is ann's, in the project p."""
    log, commands = MemoryLog(2), MemoryCommands()
    values: dict[str, object] = {"stream_keepalive_seconds": 0.05, **settings}
    async with running(
        Settings.model_validate(values), outside_of(log, SystemClock(), commands=commands), Epoch(1, "e", 2)
    ) as node:
        one = World(log, commands, node)
        await one.tell(
            event(type="project_member_added", project_id="p", data={"user_id": "bob", "role": "member"}),
            event(type="task_started", task_id="t", project_id="p", user_id="ann"),
        )
        yield one
        assert not len(node.streams), "every stream was closed"
        assert node.feed.is_idle, "nothing is read when nobody listens"


async def test_it_is_for_who_started_the_task_and_for_admins() -> None:
    async with world() as one:
        for who, may in (
            (ANN, True),
            (identity("bob"), False),
            (identity("eve"), False),
            (identity("r", "admin"), True),
        ):
            stream = one.node.open_command_stream(who, "t", None)
            assert stream is not None
            assert await stream.judge() is may
            one.node.close_stream(stream)
        nobody_s = one.node.open_command_stream(identity("r", "admin"), "unheard-of", None)
        assert nobody_s is not None
        assert await nobody_s.judge() is False
        one.node.close_stream(nobody_s)


async def test_a_new_one_begins_with_what_may_still_be_applied_and_goes_on() -> None:
    async with world() as one:
        await one.send("late", late_by=30)
        await one.send("a", "b")
        await one.send("other", task="t2")
        reader = Reader(one.node)
        await reader.until_heard(["a", "b"])
        await one.send("c", "other2", task="t2")
        await one.send("c")
        await reader.until_heard(["a", "b", "c"])
        first = reader.source.events[0]
        assert (first["command"], first["user_id"], first["data"]) == ("task_input", "bob", {"input": "x"})
        await reader.cut()


async def test_who_comes_back_with_the_last_id_misses_none_and_hears_none_twice() -> None:
    async with world() as one, world() as other:
        other.commands.log = one.commands.log
        first = Reader(one.node)
        await one.send("a", "b")
        await first.until_heard(["a", "b"])
        await first.cut()
        await one.send("c", late_by=30)
        await one.send("d")
        for node in (one.node, other.node):
            # Though it is late: whoever runs the task says so.
            second = Reader(node, first.place)
            await second.until_heard(["c", "d"])
            await second.cut()
        elsewhere = Position("another", Position.parse(first.place).offsets).token
        third = Reader(one.node, elsewhere)
        await third.until_heard(["a", "b", "d"])
        await third.cut()


async def test_what_the_window_has_dropped_is_read_from_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_feed, "CommandWindow", partial(CommandWindow, most_bytes=1_000))
    async with world() as one:
        stays = Reader(one.node)
        await until(lambda: bool(stays.place), what="the reading having begun")
        ids = [f"c{number}" for number in range(50)]
        # In one go: it is asleep meanwhile.
        await one.send(*ids, text="y" * 100)
        await one.send(*(f"o{number}" for number in range(50)), task="t2")
        await stays.until_heard(ids)
        comes = Reader(one.node)
        await comes.until_heard(ids)
        await asyncio.gather(stays.cut(), comes.cut())


async def test_its_place_moves_while_nothing_is_for_it() -> None:
    async with world() as one:
        reader = Reader(one.node)
        await until(lambda: bool(reader.place), what="a place")
        before = reader.place
        await one.send("o1", "o2", task="t2")
        await until(lambda: reader.place != before, what="a keep-alive with another place")
        assert not reader.source.dispatched
        await reader.cut()


async def test_commands_come_while_the_topic_is_away_and_back() -> None:
    async with world() as one:
        one.commands.log.available = False
        reader = Reader(one.node)
        one.commands.log.available = True
        await one.send("a")
        await reader.until_heard(["a"])
        one.commands.log.available = False
        one.commands.log.available = True
        await one.send("b")
        await reader.until_heard(["a", "b"])
        await reader.cut()


async def test_it_ends_with_the_task_with_its_rights_and_with_the_node() -> None:
    async with world() as one:
        ended, drained = Reader(one.node), Reader(one.node, who=identity("r", "admin"))
        await until(lambda: bool(ended.place and drained.place), what="both having begun")
        await one.node.streams.drain(300)
        await until(lambda: drained.is_over and ended.is_over, what="their ends")
        assert drained.source.retry_ms is not None
        assert drained.source.retry_ms <= 300
        again = Reader(one.node, ended.place)
        await until(lambda: bool(again.place), what="having begun")
        await one.tell(event(type="task_completed", task_id="t", project_id="p"))
        await until(lambda: again.is_over, what="its end")
        assert again.source.named("unsubscribed")[-1]["reason"] == "task_ended"
        for reader in (ended, drained, again):
            await reader.cut()
    async with world() as one:
        reader = Reader(one.node)
        await until(lambda: bool(reader.place), what="having begun")
        await one.tell(event(type="project_deleted", project_id="p"))
        await until(lambda: reader.is_over, what="its end")
        assert reader.source.named("unsubscribed")[-1]["reason"] == "rights"
        await reader.cut()


def test_where_a_new_one_begins_is_old_enough_and_not_much_older() -> None:
    now = 0.0
    window = CommandWindow(15, lambda task, place: None, lambda: None, now=lambda: now)
    window.begin("topic", {0: 7})
    for second in range(100):
        now = float(second)
        window.take(CommandBatch((), {0: 8 + second}))
        # What came at second s lies at 7 + s.
        assert window.lately[0] - 7 <= max(0, now - 14)
        assert window.lately[0] - 7 >= now - 15 - 6
