"""A node with many clients to whom nothing happens: memory of each, CPU of all, and how long a look for garbage takes.

Each is a user of its own with three subscriptions, and answers the heartbeats, as clients do. The node looks through
everything once thousands of conversations have ended, and says how long that took in its log; meanwhile a client asks
`ping` all the time, and the longest that it waited for an answer is what that costs whoever is there. Nothing here has
a limit of the same run: the figures stand beside what is wanted of them.
"""

import asyncio
import re
import threading
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks.clients import Clients, arriving, bearer, head, until_quiet
from benchmarks.measured import Pair, Row
from benchmarks.processes import NodeProcess, node
from benchmarks.projects import append_all, members, project_of, until_read, user_of
from benchmarks.site import Site
from benchmarks.sockets import await_message, connect, send
from benchmarks.waiting import until
from service.adapters.kafka.log import open_log
from service.embedded.free_ports import HOST

_OF_A_PROJECT: Final = 100
_PASSING: Final = 5_200
"""More conversations than those behind which a node looks through everything."""
_LOOKED: Final = re.compile(rb"looked through everything in (\d+) ms")
_LOOK_SECONDS: Final = 60.0
_PING_SECONDS: Final = 0.005
_WANTED_KIB: Final = 8.0
_WANTED_PERCENT: Final = 3.0
_WANTED_MS: Final = 100.0


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    amount = site.clients or site.sized(10_000, 200)
    seconds = site.sized(60.0, 2.0)
    projects = max(1, amount // _OF_A_PROJECT)
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(site.ground())
        log = await stack.enter_async_context(open_log(ground.kafka, ground.topic))
        await append_all(log, members(amount, projects))
        settings = {
            "LASTSEEN_HEARTBEAT_SECONDS": "30",
            "LASTSEEN_HEARTBEAT_TIMEOUT_SECONDS": "90",
            "LASTSEEN_LOG_LEVEL": "debug",
        }
        served = await stack.enter_async_context(node(site, ground, **settings))
        clients = await stack.enter_async_context(arriving(site))
        await until_read(log, served)
        await until_quiet(served)
        alone = await _percent(served, asyncio.sleep(min(seconds, 20.0)))
        memory = served.memory_bytes()
        heads = [head(served.port, f"project_id={project_of(n, projects)}", bearer(user_of(n))) for n in range(amount)]
        await clients.come(served.port, heads)
        await _settle(served, clients, seconds)
        each = (served.memory_bytes() - memory) / amount / 1024
        used = await _percent(served, clients.stay(seconds))
        site.tell(f"idle: {each:.1f} KiB each, {used:.2f} % of a core, of which {alone:.2f} without clients")
        rows = [
            _row(f"{amount:,} clients with three subscriptions each, resident memory of one", "KiB", each, _WANTED_KIB),
            _row(f"the same, CPU of the node over {seconds:.0f} s", "% of a core", used, _WANTED_PERCENT),
        ]
        if not site.quick:
            passing = await stack.enter_async_context(arriving(site))
            pause, waited = await _look_through(site, served, clients, passing)
            rows += [
                _row("the same, the look through everything for garbage", "ms", pause, _WANTED_MS),
                _row("the same, the longest answer to a ping meanwhile", "ms", waited, _WANTED_MS),
            ]
    return rows


def _row(measured: str, unit: str, figure: float, wanted: float) -> Row:
    return Row("idle", measured, unit, "at most this is wanted", [Pair(figure, wanted)])


async def _settle(served: NodeProcess, clients: Clients, seconds: float) -> None:
    """Let them be told of each other's coming."""
    async with asyncio.TaskGroup() as tasks:
        quiet = tasks.create_task(until_quiet(served))
        while not quiet.done():
            await clients.stay(min(seconds, 5.0))


async def _percent(served: NodeProcess, meanwhile: Awaitable[object]) -> float:
    """What the node uses of a core while something lasts."""
    before, started = served.cpu_seconds(), time.monotonic()
    await meanwhile
    return 100 * (served.cpu_seconds() - before) / (time.monotonic() - started)


async def _look_through(site: Site, served: NodeProcess, clients: Clients, passing: Clients) -> tuple[float, float]:
    """Let the node look through everything: how long it says that this took, and the longest wait for a pong, in ms."""
    log = site.folder / "service.main.log"
    at = log.stat().st_size
    user = bearer("passing")
    await passing.come(served.port, [head(served.port, "", user)] * _PASSING)
    await passing.cut()
    pings = _Pings(served)
    pinging = asyncio.create_task(asyncio.to_thread(pings.run))
    try:
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(until(lambda: _told(log, at), _LOOK_SECONDS))
            while not looking.done():
                await clients.stay(1.0)
    finally:
        pings.is_over.set()
        await pinging
    return looking.result() or 0.0, pings.longest * 1000


async def _told(log: Path, at: int) -> float | None:
    with log.open("rb") as file:
        file.seek(at)
        found = _LOOKED.search(file.read())
    return max(float(found[1]), 1.0) if found else None


class _Pings:
    """A client that asks `ping` all the time, in a thread of its own."""

    def __init__(self, served: NodeProcess) -> None:
        self._served = served
        self.longest = 0.0
        self.is_over = threading.Event()

    def run(self) -> None:
        """Until it is over."""
        with connect(HOST, self._served.port, self._served.token) as connection:
            while not self.is_over.is_set():
                asked = time.monotonic()
                send(connection, {"type": "ping"})
                await_message(connection, "pong")
                self.longest = max(self.longest, time.monotonic() - asked)
                time.sleep(_PING_SECONDS)
