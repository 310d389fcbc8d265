"""Clients that have no idea of positions, for as long as one likes, while one of their two nodes keeps restarting.

`python -m tests.faults.plain_client --minutes 60` runs them on servers of its own and prints figures.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from service.embedded.data_dir import open_data_dir
from service.embedded.stack import running
from tests.command_runner import Runner, reading_commands
from tests.conftest import Told
from tests.nodes import ADMIN, Ground, Message, NodeProcess, new_ground, token
from tests.waiting import until

ANSWERS = {"subscription_result", "unsubscription_result", "input_result", "cancel_result"}
IGNORED = {"caught_up", "fell_behind", "pong"}
"""Of a later protocol than the one that the client was written for."""
PASSING = {"unavailable", "history_unavailable"}
EXPLAINED = {1001, 1006, 1011, 1012, 1013}


@dataclass
class PlainClient:
    """Connects, keeps its subscriptions, answers pings, sends commands, and comes back after a while that doubles."""

    name: str
    nodes: list[NodeProcess]
    first_wait: float
    client_id: str | None = None
    notified: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled."""
        attempt = 0
        while True:
            node = self.nodes[self.counts["connects"] % len(self.nodes)]
            query = f"token={token(self.name)}&project_id=shop"
            if self.client_id is not None:
                query += f"&client_id={self.client_id}"
            self.counts["connects"] += 1
            try:
                async with connect(f"{node.url.replace('http', 'ws')}/ws?{query}", proxy=None) as socket:
                    self.counts["connected"] += 1
                    attempt = 0
                    await self._converse(socket)
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else 1006
                if code not in EXPLAINED:
                    self.unexplained.append(f"closed with {code} {error.rcvd}")
            except OSError:
                pass
            except Exception as error:  # noqa: BLE001 - a hand-shake cut in the middle has many names
                if not type(error).__module__.startswith("websockets"):
                    self.unexplained.append(repr(error))
            await asyncio.sleep(min(self.first_wait * 2**attempt, 30 * self.first_wait))
            attempt += 1

    async def _converse(self, socket: Any) -> None:
        conversation = Conversation(self)
        asking = asyncio.create_task(self._ask(socket))
        try:
            async for text in socket:
                answer = conversation.take(json.loads(text))
                if answer is not None:
                    await socket.send(json.dumps(answer))
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    async def _ask(self, socket: Any) -> None:
        """Subscribe and unsubscribe, give input and cancel."""
        try:
            for number in range(1_000_000):
                await socket.send(json.dumps({"type": "subscribe", "channel": "task:run"}))
                await socket.send(
                    json.dumps({"type": "task_input", "task_id": "run", "input": f"{self.name}-{number}"})
                )
                await asyncio.sleep(3 * self.first_wait)
                await socket.send(json.dumps({"type": "unsubscribe", "channel": "task:run"}))
                await socket.send(json.dumps({"type": "task_cancel", "task_id": "run"}))
                await socket.send(json.dumps({"type": "ping"}))
                await asyncio.sleep(3 * self.first_wait)
        except ConnectionClosed:
            pass  # the reader tells why


@dataclass
class Conversation:
    """What one connection brings."""

    client: PlainClient
    seen: set[tuple[int, int]] = field(default_factory=set)
    last_update: int | None = None
    is_greeted: bool = False

    def take(self, message: Message) -> Message | None:
        """A message of the server; what is said to it, if anything."""
        client, type_ = self.client, message["type"]
        if not self.is_greeted:
            self.is_greeted = type_ == "connection_established"
            self._expect(self.is_greeted, message)
        elif "offset" in message:
            self._event(message)
        elif type_ == "ping":
            return {"type": "pong"}
        elif type_ == "error":
            client.counts[f"error {message['code']}"] += 1
            self._expect(message["code"] in PASSING, message)
        elif type_ in ANSWERS:
            state = f" {message['state']}" if "state" in message else ""
            client.counts[f"{type_}{state}"] += 1
            self._expect(message.get("state") in (None, "applied", "expired", "unknown"), message)
        else:
            self._expect(type_ in IGNORED, message)
        return None

    def _event(self, event: Message) -> None:
        place = event["partition"], event["offset"]
        self._expect(place not in self.seen, event)
        self.seen.add(place)
        self.client.counts["events"] += 1
        number = event["data"].get("number")
        if event["type"] == "user_notification":
            self.client.notified[number] += 1
        elif event["type"] == "project_updated":
            self._expect(self.last_update in (None, number - 1), event)
            self.last_update = number

    def _expect(self, holds: bool, message: Message) -> None:
        if not holds:
            self.client.unexplained.append(json.dumps(message)[:300])


@dataclass
class Trial:
    """The clients, what is published meanwhile, and the restarts."""

    ground: Ground
    nodes: list[NodeProcess]
    seconds: float
    first_wait: float
    random: random.Random
    published: int = 0
    restarts: int = 0

    async def run(self) -> list[PlainClient]:
        """Play it; the clients, at rest."""
        await self.nodes[1].publish(
            {"type": "project_created", "project_id": "shop", "user_id": "root"},
            *(
                {"type": "project_member_added", "project_id": "shop", "data": {"user_id": user, "role": "member"}}
                for user in ("ann", "bob", "cem")
            ),
            {"type": "task_started", "task_id": "run", "project_id": "shop", "user_id": "ann"},
        )
        one, two = self.nodes
        clients = [
            PlainClient("ann", [one], self.first_wait, "laptop"),
            PlainClient("bob", [one, two], self.first_wait, "phone"),
            PlainClient("cem", [two, one], self.first_wait),
        ]
        async with reading_commands(self.ground) as consumer, asyncio.TaskGroup() as tasks:
            tasks_ = [tasks.create_task(Runner(two).run(consumer))]
            tasks_ += [tasks.create_task(client.run()) for client in clients]
            publishing = tasks.create_task(self._publish())
            deadline = time.monotonic() + self.seconds
            while time.monotonic() < deadline:
                await asyncio.sleep(self.random.uniform(10, 20) * self.first_wait)
                how = signal.SIGTERM if self.restarts % 2 else signal.SIGKILL
                await one.stop(how)
                await asyncio.sleep(self.random.uniform(0, 3) * self.first_wait)
                await one.start()
                self.restarts += 1
            publishing.cancel()
            await self._come_to_rest(clients)
            for task in tasks_:
                task.cancel()
        return clients

    async def _publish(self) -> None:
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {ADMIN}"}) as http:
            while True:
                number = self.published
                events: list[Message] = [
                    {"type": "project_updated", "project_id": "shop", "data": {"number": number}},
                    {"type": "task_output", "task_id": "run", "project_id": "shop", "user_id": "ann", "data": {}},
                    *(
                        {"type": "user_notification", "user_id": user, "data": {"number": number}}
                        for user in ("ann", "bob", "cem")
                    ),
                ]
                (await http.post(f"{self.nodes[1].url}/api/v1/events", json=events)).raise_for_status()
                self.published = number + 1
                await asyncio.sleep(self.first_wait / 4)

    async def _come_to_rest(self, clients: list[PlainClient]) -> None:
        def rests() -> bool:
            return all(client.notified.keys() >= set(range(self.published)) for client in clients)

        await until(rests, timeout=60, what="every message having come")


@asynccontextmanager
async def two_nodes(ground: Ground) -> AsyncIterator[list[NodeProcess]]:
    """Two nodes of a ground; the first is the one that restarts."""
    settings = {"command_deadline_seconds": 2, "heartbeat_seconds": 2}
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(ground.node(name, **settings)) for name in ("n1", "n2"))
        yield list(await asyncio.gather(*starting))


def _new_folder() -> Path:
    """One that Postgres's user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="lastseen-plain-"))
    folder.chmod(0o711)
    return folder


async def _main(minutes: float, seed: int) -> None:
    folder = await asyncio.to_thread(_new_folder)
    with open_data_dir(folder) as data_dir:
        async with (
            running(data_dir, progress=Told(), durable=False) as stack,
            new_ground(stack.kafka, stack.admin_url) as ground,
            ground.log_writer(),
            ground.projections(),
            two_nodes(ground) as nodes,
        ):
            trial = Trial(ground, nodes, minutes * 60, 1.0, random.Random(seed))
            for client in await trial.run():
                more = sum(count - 1 for count in client.notified.values())
                print(client.name, dict(client.counts), f"{more} notified again, unexplained: {client.unexplained[:5]}")
            print(f"seed {seed}: {trial.published} times published, {trial.restarts} restarts")
    await asyncio.to_thread(shutil.rmtree, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.minutes, arguments.seed))
