"""A connection that is slow: what counts as life, and what it may make the node hold."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from pydantic_core import to_json

from service.adapters.memory import MemoryLog
from service.domain.duplicates import LookBack
from service.domain.identity import Identity
from service.node.connection import Connection
from service.node.node import Node
from service.node.opening import open_conversation
from service.node.tail import TailStart
from service.ports import Epoch
from service.settings import Settings
from tests.outside import from_nothing, outside_of
from tests.raw import raw_of, task_event
from tests.simulation import SimulatedPort

SETTINGS = Settings(high_water_bytes=1024, heartbeat_seconds=1, heartbeat_timeout_seconds=10)
ADMIN = Identity("u", "admin", frozenset(), frozenset(), 2**40)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Node, Connection, SimulatedPort, Callable[[int], None]]]:
    """A node of one partition, a connection of it, its port, and what lets seconds pass."""
    now_ms = 0

    def pass_seconds(seconds: int) -> None:
        nonlocal now_ms
        for _ in range(seconds):
            now_ms += 1000
            node.services.heartbeat.tick()

    log = MemoryLog(1)
    clock: Any = SimpleNamespace(now_ms=lambda: now_ms)
    async with asyncio.TaskGroup() as tasks:
        start = TailStart({0: 0}, {0: 0}, {0: LookBack()})
        node = Node(SETTINGS, outside_of(log, clock), Epoch(1, "e", 1), from_nothing(start), tasks)
        port = SimulatedPort(node.services.low_water)
        connection = node.connect(port, ADMIN)
        assert connection is not None
        port.connection = connection
        await open_conversation(connection, None, None)
        await connection.receive('{"type":"subscribe","channel":"task:t"}')
        yield node, connection, port, pass_seconds
        node.abort()
        node.puller.cancel()


def publish(node: Node, first: int, count: int) -> None:
    """Some 300 bytes each."""
    node.tail.step([raw_of(0, first + n, task_event("t")) for n in range(count)], {0: first + count})


async def test_a_client_that_says_nothing_is_closed() -> None:
    async with connected() as (_, _, port, pass_seconds):
        pass_seconds(8)
        assert port.closed is None
        pass_seconds(2)
        assert port.closed == (4408, "Heartbeat timeout")


async def test_a_client_that_does_not_read_but_pings_lives() -> None:
    async with connected() as (node, connection, port, pass_seconds):
        publish(node, 0, 100)
        held = port.buffered()
        for _ in range(20):
            pass_seconds(5)
            await connection.receive('{"type":"ping"}')
        assert port.closed is None
        assert port.buffered() == held > 2 * SETTINGS.high_water_bytes, "nothing more is put before it"


async def test_requests_of_a_client_that_does_not_read_wait() -> None:
    async with connected() as (_, connection, port, pass_seconds):
        channels = to_json({"type": "subscribe", "channels": [f"task:{n}" for n in range(200)]})
        await connection.receive(channels)
        held = port.buffered()
        assert held > 2 * SETTINGS.high_water_bytes
        waiting = asyncio.create_task(connection.receive(channels))
        await asyncio.sleep(0)
        assert not waiting.done()
        for _ in range(40):
            # It reads a little now and then, which is its sign of life: its messages are not read meanwhile.
            port.read(4)
            pass_seconds(5)
            await asyncio.sleep(0)
        assert port.closed is None
        while not waiting.done():
            port.read(50)
            await asyncio.sleep(0)
        await waiting


async def test_a_waiting_client_that_takes_nothing_is_closed() -> None:
    async with connected() as (_, connection, port, pass_seconds):
        channels = to_json({"type": "subscribe", "channels": [f"task:{n}" for n in range(200)]})
        await connection.receive(channels)
        waiting = asyncio.create_task(connection.receive(channels))
        await asyncio.sleep(0)
        pass_seconds(8)
        assert port.closed is None
        pass_seconds(6)
        assert port.closed == (4408, "Heartbeat timeout")
        await waiting


async def test_many_catch_ups_of_a_client_that_takes_nothing_write_no_more_than_one() -> None:
    async with connected() as (node, connection, port, _):
        for task in range(40):
            records = [raw_of(0, 20 * task + n, task_event(f"many-{task}", id=f"{task}-{n}")) for n in range(20)]
            node.tail.step(records, {0: 20 * (task + 1)})
        before = port.buffered()
        asking = asyncio.create_task(subscribe_to_each(connection, 40))
        for _ in range(200):
            await asyncio.sleep(0)
        answers = 300 * 40
        assert port.buffered() - before < 20 * 500 + answers, "the others wait for their turns"
        while not asking.done() or node.puller.running:
            port.read(10)
            await asyncio.sleep(0)
        assert len(connection.subscriptions.live) == 2 + 1 + 40


async def subscribe_to_each(connection: Connection, count: int) -> None:
    for task in range(count):
        await connection.receive(to_json({"type": "subscribe", "channel": f"task:many-{task}", "after": "earliest"}))
