"""A client that reads next to nothing of a busy channel: what a node holds for it, and what others notice.

`python -m tests.faults.slow_client --seconds 60 --megabytes-a-second 10` runs it on servers of its own: a viewer, a
node whose window is full, then clients that read 1 KB/s of it, and at the end all that they have missed.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import psutil
from lastseen.envelope import Event
from lastseen.notices import Message
from lastseen.record import encode

from service.adapters.kafka.log import open_log
from tests.faults.many_nodes import own_ground
from tests.faults.paced_line import PacedLine
from tests.nodes import Ground, NodeProcess, token
from tests.waiting import until

SLOW_RATE = 1000.0
"""Bytes a second."""
TASK = "busy"
_LOOK_SECONDS = 0.1
_PUBLISHED_A_SECOND = 20
"""Appends, each of many events."""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    seconds: float
    megabytes_a_second: float
    slow: int
    """Clients that read slowly."""
    to_the_end: int
    """How many of them go on to the end at full speed."""
    event_bytes: int
    window_bytes: int


@dataclass
class Memory:
    """What a node held at most in a while."""

    least_resident: int = 2**60
    resident: int = 0
    buffered: int = 0
    """Bytes that waited in connections, by the node's own gauge."""


@dataclass
class Outcome:
    """What was seen."""

    before: Memory = field(default_factory=Memory)
    """With the viewer alone and the window full."""
    slowly: Memory = field(default_factory=Memory)
    published: int = 0
    published_seconds: float = 0.0
    bytes: int = 0
    read_slowly: int = 0
    """Bytes that all slow clients read meanwhile."""
    fell_behind: int = 0
    wrong: list[str] = field(default_factory=list)

    def report(self, plan: Plan) -> str:
        """In words."""
        grown = (self.slowly.resident - self.before.resident) / 1024
        rate, waiting = self.bytes / self.published_seconds / 1e6, self.slowly.buffered / 1024
        return "\n".join(
            [
                f"{self.published} events, {self.bytes / 1e6:.0f} MB, {rate:.1f} MB/s",
                f"{plan.slow} slow clients read {self.read_slowly / 1000:.0f} kB, {self.fell_behind} fell behind",
                f"waiting in connections: {waiting:.0f} KiB at most, {waiting / plan.slow:.0f} KiB a slow client "
                f"({self.before.buffered / 1024:.0f} KiB before)",
                f"resident: {self.before.least_resident / 2**20:.1f} to {self.before.resident / 2**20:.1f} MiB before, "
                f"{self.slowly.least_resident / 2**20:.1f} to {self.slowly.resident / 2**20:.1f} MiB with them: "
                f"{grown / plan.slow:+.0f} KiB a slow client",
                *(f"WRONG: {problem}" for problem in self.wrong),
            ]
        )


@dataclass
class Follower:
    """Follows the task, and checks that every event comes once and in order."""

    name: str
    line: PacedLine
    next: int | None = None
    """The number of the event that has to come next."""
    first: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until the line ends."""
        async for message in self.line.messages():
            await self._take(message)

    async def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "task_output":
            kind = "replayed" if "replay" in message else "live"
            number = message["data"]["number"]
            if self.next is None:
                self.first = number
            elif number != self.next:
                self.wrong.append(f"{self.name} got {number}, and {self.next} was next")
            self.next = number + 1
        self.seen[kind] = self.seen.get(kind, 0) + 1
        match kind:
            case "connection_established":
                await self.line.send({"type": "subscribe", "channel": f"task:{TASK}", "ref": 1})
            case "ping":
                await self.line.send({"type": "ping"})
            case "gap" | "error":
                self.wrong.append(f"{self.name} was told {message}")
            case _:
                pass


async def play(ground: Ground, plan: Plan) -> Outcome:
    """Play it on `ground`. Raises AssertionError where it does not come to its end."""
    outcome = Outcome()
    settings: dict[str, int] = {
        "window_bytes": plan.window_bytes,
        "heartbeat_seconds": 1,
        "heartbeat_timeout_seconds": 3600,
    }
    async with ground.log_writer(), ground.projections(), ground.node("node-1", **settings) as node:
        async with following(node, "viewer", count=1) as (viewer,):
            over = asyncio.Event()
            publishing = asyncio.create_task(_publish(ground, plan, outcome, over))
            try:
                await until(
                    lambda: outcome.bytes > 1.2 * plan.window_bytes, timeout=120, what="a full window of the node"
                )
                await _look(node, outcome.before, plan.seconds / 4)
                async with following(node, "slow", plan.slow, rate=SLOW_RATE) as slow:
                    await _look(node, outcome.slowly, plan.seconds)
                    outcome.read_slowly = sum(one.line.read for one in slow)
                    over.set()
                    await publishing
                    for one in slow[plan.to_the_end :]:
                        one.line.cut()
                    whole = slow[: plan.to_the_end]
                    for one in whole:
                        one.line.rate = None
                    await until(
                        lambda: all(one.next == outcome.published for one in (viewer, *whole)),
                        timeout=300,
                        what=f"everybody having all {outcome.published} events",
                    )
                    outcome.fell_behind = sum("fell_behind" in one.seen for one in slow)
                    for one in (viewer, *slow):
                        outcome.wrong += one.wrong
            finally:
                over.set()
                await publishing
        if viewer.seen.get("replayed") or viewer.seen.get("fell_behind"):
            outcome.wrong.append(f"the viewer did not get everything live: {viewer.seen}")
        if "Traceback" in node.said:
            outcome.wrong.append(node.said[node.said.index("Traceback") :][:3000])
    return outcome


@asynccontextmanager
async def following(
    node: NodeProcess, name: str, count: int, rate: float | None = None
) -> AsyncIterator[Sequence[Follower]]:
    """So many clients that follow the task live; with a rate, as soon as they do, they read as slowly as that."""
    small = {"receive_buffer": 4096} if rate is not None else {"segment": None}
    address = f"{node.url.replace('http', 'ws')}/ws?token={token('viewer', role='admin')}"
    followers = []
    async with asyncio.TaskGroup() as tasks:
        running = []
        try:
            for number in range(count):
                line = await PacedLine.open(address, **small)
                followers.append(Follower(f"{name} {number}", line))
                running.append(tasks.create_task(followers[-1].run()))
                await until(lambda: "subscription_result" in followers[-1].seen, timeout=30, what="a subscription")
                line.rate, line.pause = rate, 0.5
            yield followers
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            for one in followers:
                one.line.end()


async def _publish(ground: Ground, plan: Plan, outcome: Outcome, over: asyncio.Event) -> None:
    """Append at the rate of the plan, until it is over."""
    clock = asyncio.get_running_loop().time
    began = due = clock()
    count = max(1, round(plan.megabytes_a_second * 1e6 / _PUBLISHED_A_SECOND / plan.event_bytes))
    text = os.urandom(plan.event_bytes // 2).hex()
    async with open_log(ground.kafka, ground.topic) as log:
        while not over.is_set():
            numbers = range(outcome.published, outcome.published + count)
            events = [
                {"type": "task_output", "task_id": TASK, "data": {"number": number, "text": text}} for number in numbers
            ]
            records = [encode(Event.model_validate(event)) for event in events]
            await log.append(records)
            outcome.published += count
            outcome.bytes += sum(len(record.value) for record in records)
            outcome.published_seconds = clock() - began
            due += 1 / _PUBLISHED_A_SECOND
            await asyncio.sleep(max(0.0, due - clock()))


async def _look(node: NodeProcess, memory: Memory, seconds: float) -> None:
    """Look at what the node holds for a while."""
    assert node.process is not None
    process, loop = psutil.Process(node.process.pid), asyncio.get_running_loop()
    until_ = loop.time() + seconds
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        while loop.time() < until_:
            resident = process.memory_info().rss
            memory.least_resident = min(memory.least_resident, resident)
            memory.resident = max(memory.resident, resident)
            shown = (await http.get(f"{node.url}/metrics")).text
            buffered = next(line for line in shown.splitlines() if line.startswith("lastseen_buffered_bytes "))
            memory.buffered = max(memory.buffered, int(float(buffered.split()[1])))
            await asyncio.sleep(_LOOK_SECONDS)


async def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--megabytes-a-second", type=float, default=10)
    parser.add_argument("--slow", type=int, default=1)
    parser.add_argument("--to-the-end", type=int, default=1, help="how many of the slow ones read all in the end")
    parser.add_argument("--event-kib", type=int, default=12)
    parser.add_argument("--window-mib", type=int, default=64)
    given = parser.parse_args()
    plan = Plan(
        given.seconds,
        given.megabytes_a_second,
        given.slow,
        given.to_the_end,
        given.event_kib * 1024,
        given.window_mib * 2**20,
    )
    async with own_ground(partitions=4) as ground:
        outcome = await play(ground, plan)
    print(plan, outcome.report(plan), sep="\n")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
