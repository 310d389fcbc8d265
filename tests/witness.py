"""Somebody who follows a task while others misbehave: nothing of it may be missing, or late."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.nodes import ADMIN, NodeProcess, numbers, output
from tests.waiting import until

LATEST = 5.0
"""Seconds that an event may take; on a busy machine much is slow that is not wrong."""


@dataclass
class Witness:
    """What was published and what has come, by number."""

    task: str
    sent: list[float] = field(default_factory=list)
    came: dict[int, float] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    @property
    def delays(self) -> list[float]:
        """Seconds between asking for each event to be appended and its coming."""
        return [self.came[number] - self.sent[number] for number in self.order]


@asynccontextmanager
async def witnessing(node: NodeProcess, task: str, every: float = 0.05) -> AsyncIterator[Witness]:
    """Events all the while, and somebody who follows them; checked at the end of the block."""
    witness = Witness(task)
    ending = asyncio.Event()

    async def publish() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=30, headers={"Authorization": f"Bearer {ADMIN}"}) as http:
            while not ending.is_set():
                witness.sent.append(time.monotonic())
                event = output(task, len(witness.sent) - 1)
                answer = await http.post(f"{node.url}/api/v1/events", json=event)
                assert answer.status_code == 202, answer.text
                await asyncio.sleep(every)

    async def follow() -> None:
        async with node.client() as client:
            await client.subscribe(f"task:{task}", after="earliest")
            while True:
                message = await client.next()
                if message["type"] == "ping":
                    await client.send({"type": "pong"})
                if message["type"] == "task_output":
                    assert message["task_id"] == task
                    (number,) = numbers([message])
                    witness.came[number] = time.monotonic()
                    witness.order.append(number)
                assert message["type"] not in ("fell_behind", "gap", "error"), message

    async with asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(publish())
        following = tasks.create_task(follow())
        await until(lambda: witness.order, what="the first event having come")
        yield witness
        ending.set()
        await publishing
        await until(lambda: len(witness.order) == len(witness.sent), timeout=LATEST, what="all events having come")
        following.cancel()
    assert witness.order == list(range(len(witness.sent))), "each once and in order"
    assert max(witness.delays[1:], default=0) < LATEST, f"the latest took {max(witness.delays):.1f} s"
