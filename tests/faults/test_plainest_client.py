"""A client that knows no position works against two nodes of which one is always about to be restarted.

`python -m tests.faults.test_plainest_client --hours 2` does the same for as long as one likes.
"""

import argparse
import asyncio
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from lastseen.commands import Command, CommandName, decode

from service.adapters.kafka.instance_topics import COMMAND_PARTITIONS
from tests.faults.anywhere import AnywherePublisher
from tests.faults.many_nodes import own_ground
from tests.faults.plainest_clients import PlainestClient
from tests.nodes import Ground, NodeProcess, new_ground, started
from tests.waiting import until

PROJECT = "shop"
ALONE = ["ann", "bob", "carl"]
"""Users with one client that has no name."""
DEVICES = [("dora", "phone"), ("dora", "laptop"), ("eve", "phone")]
TO_BE_MET = ("closed 1001", "closed 1006", "input_result applied", "cancel_result applied", "jobs cancelled")
"""What clients have to come upon, else a run shows nothing."""


@dataclass
class Street:
    """Two nodes, who publishes, who runs tasks, and the clients."""

    nodes: list[NodeProcess]
    random: Random
    sent: dict[str, int] = field(default_factory=dict)
    """By user how many notifications were published: their numbers go from 0 up."""
    restarts: Counter[str] = field(default_factory=Counter)
    clients: list[PlainestClient] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.publisher = AnywherePublisher(self.nodes, self.random)
        for user, name in [*((user, None) for user in ALONE), *DEVICES]:
            self.clients.append(PlainestClient(user, PROJECT, name, self.nodes, Random(self.random.random())))
        self.users = sorted({client.user for client in self.clients})

    async def publish(self, *events: dict[str, Any]) -> None:
        answers = await self.publisher.publish(list(events))
        assert all("error" not in answer for answer in answers), answers

    async def settle(self) -> None:
        """Begin the project and its tasks."""
        await self.publish({"type": "project_created", "project_id": PROJECT, "user_id": "root"})
        for user in self.users:
            await self.publish(
                {"type": "project_member_added", "project_id": PROJECT, "data": {"user_id": user}},
                started(f"work-{user}", project_id=PROJECT, user_id=user),
            )

    async def produce(self, stop: asyncio.Event) -> None:
        """Notifications, output, and now and then a job in a user's name."""
        jobs = 0
        for user in cycle(self.users):
            if stop.is_set():
                return
            number = self.sent.get(user, 0)
            await self.publish({"type": "user_notification", "user_id": user, "data": {"number": number}})
            self.sent[user] = number + 1
            task = f"work-{user}"
            await self.publish(*({"type": "task_output", "task_id": task, "project_id": PROJECT} for _ in range(3)))
            if self.random.random() < 0.1:
                jobs += 1
                await self.publish(started(f"job-{user}-{jobs}", project_id=PROJECT, user_id=user))
            await asyncio.sleep(0.03)

    async def run_tasks(self, consumer: AIOKafkaConsumer) -> None:
        """Apply commands and say so, each once."""
        applied: set[str] = set()
        async for record in consumer:
            command = decode(record.value, record.headers)
            if command.id not in applied:
                applied.add(command.id)
                await self._apply(command)

    async def _apply(self, command: Command) -> None:
        of_task = {"task_id": command.task_id, "project_id": command.project_id}
        receipt = {"command_id": command.id, "command": command.command, "by": command.user_id, "state": "applied"}
        events: list[dict[str, Any]] = [{**of_task, "type": "task_command", "data": receipt}]
        if command.command is CommandName.CANCEL:
            events.append({**of_task, "type": "task_cancelled"})
        await self.publisher.publish(events)

    async def restart(self, stop: asyncio.Event, every: float) -> None:
        """End the second node and start it again, over and over; one way and the other."""
        node, number = self.nodes[1], 0
        while not stop.is_set():
            await asyncio.sleep(every)
            await until(lambda: any(client.at is node for client in self.clients), timeout=30, what="a client there")
            how = (signal.SIGTERM, signal.SIGKILL)[number % 2]
            number += 1
            await node.stop(how)
            self.restarts[how.name] += 1
            await node.start()

    def has_shown_all(self) -> bool:
        """Whether everything has happened that a client must be able to explain."""
        seen = sum((client.seen for client in self.clients), Counter[str]())
        is_met = all(seen[what] for what in TO_BE_MET) and all(self.restarts[how] for how in ("SIGKILL", "SIGTERM"))
        return is_met and len(self.sent) == len(self.users) and min(self.sent.values()) > 5

    def has_everything(self) -> bool:
        """Whether each client has had each notification of its user."""
        return all(set(c.had) == set(range(self.sent.get(c.user, 0))) for c in self.clients)


async def live(ground: Ground, seconds: float, every: float, seed: int) -> Street:
    """Let them live for so long, and everything arrive. Raises where a client met what it can't explain."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ground.log_writer())
        await stack.enter_async_context(ground.projections())
        settings = {"heartbeat_seconds": 1, "heartbeat_timeout_seconds": 20, "presence_grace_seconds": 1}
        starting = [stack.enter_async_context(ground.node(f"node-{n}", **settings)) for n in (1, 2)]
        street = Street(list(await asyncio.gather(*starting)), Random(seed))
        consumer = AIOKafkaConsumer(bootstrap_servers=ground.kafka, auto_offset_reset="earliest")
        consumer.assign([TopicPartition(f"{ground.topic}.commands", n) for n in range(COMMAND_PARTITIONS)])
        await stack.enter_async_context(consumer)
        await stack.enter_async_context(street.publisher)
        await street.settle()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            lasting = [group.create_task(client.run()) for client in street.clients]
            lasting.append(group.create_task(street.run_tasks(consumer)))
            ending = [group.create_task(street.produce(stop)), group.create_task(street.restart(stop, every))]
            await asyncio.sleep(seconds)
            await until(street.has_shown_all, timeout=60, what=f"all of {', '.join(TO_BE_MET)}, after {seconds:g} s")
            stop.set()
            await asyncio.gather(*ending)
            await until(street.has_everything, timeout=30, what="every notification with every client")
            for task in lasting:
                task.cancel()
        assert not [node.said for node in street.nodes if "Traceback" in node.said]
    return street


def told(street: Street) -> str:
    """What has happened, in figures."""
    seen = sum((client.seen for client in street.clients), Counter[str]())
    again = {f"{c.user} {c.client_id or ''}".strip(): c.had.total() - len(c.had) for c in street.clients}
    sent = sum(street.sent.values())
    return f"{sent} notifications, restarts {dict(street.restarts)}; {dict(sorted(seen.items()))}; came again: {again}"


async def test_it_can_explain_all_that_happens_and_misses_no_message(kafka: str, postgres_url: str) -> None:
    seed = Random().getrandbits(32)
    print(f"seed {seed}")
    async with new_ground(kafka, postgres_url) as ground:
        street = await live(ground, seconds=7.0, every=1.0, seed=seed)
    print(told(street))


async def _main() -> int:
    parser = argparse.ArgumentParser(description="The plainest client against two nodes, one restarted over and over.")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two restarts")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    async with own_ground() as ground:
        street = await live(ground, given.hours * 3600, given.every, given.seed)
    print(told(street))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
