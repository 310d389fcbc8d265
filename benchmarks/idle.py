"""A node with many clients to whom nothing happens: memory of each, CPU of all, and how long anybody waits.

Each is a user of its own with three subscriptions, and answers the heartbeats, as clients do. Then others come and go,
so many that the node would look through everything for garbage if they left any, and a client asks `ping` all the time:
the longest that it waits for an answer is what that, and all else, costs whoever is there. The node itself tells the
longest time that looking for garbage has stopped it. Nothing here has a limit of the same run: the figures stand beside
what is wanted of them.
"""

import asyncio
import re
import threading
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Final

import httpx

from benchmarks.clients import Clients, arriving, bearer, head, until_quiet
from benchmarks.measured import Pair, Row
from benchmarks.processes import NodeProcess, node
from benchmarks.projects import append_all, members, project_of, until_read, user_of
from benchmarks.site import Site
from benchmarks.sockets import await_message, connect, send
from service.adapters.kafka.log import open_log
from service.embedded.free_ports import HOST

_OF_A_PROJECT: Final = 100
_PASSING: Final = 5_200
"""More conversations than those of which a node looks for what they left, however long that takes."""
_LOOKED: Final = re.compile(rb"looked through \d+ objects in (\d+) ms")
_LONGEST: Final = re.compile(r"^lastseen_gc_longest_pause_seconds (\S+)$", re.MULTILINE)
_GOING_SECONDS: Final = 1.0
_PINGING_SECONDS: Final = 20.0
"""The node considers that every five."""
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
        used = await _percent(served, clients.stay(seconds))
        each = (served.memory_bytes() - memory) / amount / 1024
        site.tell(f"idle: {each:.1f} KiB each, {used:.2f} % of a core, of which {alone:.2f} without clients")
        rows = [
            _row(f"{amount:,} clients with three subscriptions each, resident memory of one", "KiB", each, _WANTED_KIB),
            _row(f"the same, CPU of the node over {seconds:.0f} s", "% of a core", used, _WANTED_PERCENT),
        ]
        passing = await stack.enter_async_context(arriving(site))
        coming = site.sized(_PASSING, 20)
        looks, waited = await _come_and_go(site, served, clients, passing, coming)
        paused = await _longest_pause_ms(served)
        told = ", ".join(f"{look} ms" for look in looks) or "none"
        site.tell(f"idle: looks through everything for garbage: {told}; the longest pause {paused:.1f} ms")
        asked = (
            f"the same, the longest answer to a ping in {_PINGING_SECONDS:.0f} s behind {coming:,} who came and went"
        )
        rows.append(_row(asked, "ms", waited, _WANTED_MS))
        paused_for = "the same, the longest time that looking for garbage has stopped the node, from its start on"
        rows.append(_row(paused_for, "ms", paused, _WANTED_MS))
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


async def _come_and_go(
    site: Site, served: NodeProcess, clients: Clients, passing: Clients, amount: int
) -> tuple[list[int], float]:
    """Let others come and go; how long each look through everything took, by the node's log, and the longest wait for
    an answer, in ms."""
    log = site.folder / "service.main.log"
    at = log.stat().st_size
    await passing.come(served.port, [head(served.port, "", bearer("passing"))] * amount)
    await passing.cut()
    # That they all go at once is not what is measured.
    await asyncio.sleep(_GOING_SECONDS)
    pings = _Pings(served)
    pinging = asyncio.create_task(asyncio.to_thread(pings.run))
    try:
        await clients.stay(_PINGING_SECONDS)
    finally:
        pings.is_over.set()
        await pinging
    with log.open("rb") as file:
        file.seek(at)
        looks = [int(ms) for ms in _LOOKED.findall(file.read())]
    return looks, pings.longest * 1000


async def _longest_pause_ms(served: NodeProcess) -> float:
    async with httpx.AsyncClient(trust_env=False) as http:
        shown = (await http.get(f"http://{HOST}:{served.port}/metrics")).text
    found = _LONGEST.search(shown)
    assert found is not None, "every node tells it"
    return float(found[1]) * 1000


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
