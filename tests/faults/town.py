"""Everybody and everything of a run on many nodes: who publishes what, who may what, and what goes wrong."""

import asyncio
import signal
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.faults.anywhere import AnywherePublisher
from tests.faults.many_clients import PlainClient, ResumingClient
from tests.nodes import NodeProcess


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    nodes: int
    clients: int
    projects: int
    seconds: float
    events_per_second: float
    kills: int


@dataclass
class Town:
    """Everybody and everything of one run; `tests.faults.many_clients.World` for its clients."""

    size: Size
    random: Random
    nodes: list[NodeProcess]
    acknowledged: dict[int, int] = field(default_factory=dict)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    members: dict[str, set[str]] = field(default_factory=dict)
    """By project, as acknowledged last."""
    clients: list[PlainClient] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._coming: list[str] = []
        self.publisher = AnywherePublisher(self.nodes, self.random)
        users = [f"u{number}" for number in range(max(2, self.size.clients * 2 // 3))]
        self.users = users
        self.projects = [f"p{number}" for number in range(self.size.projects)]
        for number in range(self.size.clients):
            kind = ResumingClient if number % 2 else PlainClient
            self.clients.append(kind(users[number % len(users)], self, Random(self.random.random())))

    def some_project(self, user: str, random: Random) -> str | None:
        """One to connect with: mostly one of his."""
        if random.random() < 0.3:
            return None
        his = [project for project, members in self.members.items() if user in members]
        return random.choice(his) if his and random.random() < 0.9 else random.choice(self.projects)

    def some_channels(self, user: str, random: Random, count: int) -> list[str]:
        """Channels to ask for: mostly those that he may have."""
        found = {f"user:{user}"} if random.random() < 0.05 else set()
        for _ in range(count):
            project = self.some_project(user, random) or random.choice(self.projects)
            found.add(f"project:{project}" if random.random() < 0.5 else f"task:{project}.t{random.randrange(3)}")
        return sorted(found)

    async def settle(self) -> None:
        """Begin the projects."""
        for project in self.projects:
            owner, *others = self.random.sample(self.users, min(len(self.users), 6))
            await self._publish(
                [
                    {"type": "project_created", "project_id": project, "user_id": owner},
                    *(_membership("added", project, user, "member") for user in others),
                ]
            )

    async def produce(self, seed: float) -> None:
        """Publish through random nodes, until cancelled."""
        random, clock = Random(seed), asyncio.get_running_loop().time
        due = clock()
        while True:
            events = [self._event(random) for _ in range(random.choice([1, 1, 3, 10]))]
            due += len(events) / self.size.events_per_second * 3
            await self._publish(events)
            await asyncio.sleep(max(0.0, due - clock()))

    async def trouble(self) -> None:
        """End a node and start it again, now and then; the others serve meanwhile."""
        for number in range(self.size.kills):
            await asyncio.sleep(self.size.seconds / (self.size.kills + 1))
            node = self.nodes[number % len(self.nodes)]
            how = signal.SIGKILL if number % 3 != 2 else signal.SIGTERM
            await node.stop(how)
            self.kills[how.name] += 1
            await node.start()

    def _event(self, random: Random) -> dict[str, Any]:
        project, user = random.choice(self.projects), random.choice(self.users)
        if self._coming:
            return {"type": "project_created", "project_id": self._coming.pop(), "user_id": user}
        members = self.members.get(project, set())
        task = f"{project}.t{random.randrange(3)}"
        common = {"project_id": project, "data": {"number": random.randrange(1_000_000)}}
        match random.randrange(100):
            case n if n < 4:
                return _membership("added", project, user, random.choice(["owner", "member", "viewer"]))
            case n if n < 8 and members:
                return _membership("removed", project, random.choice(sorted(members)), None)
            case 8 if random.random() < 0.3:
                return {"type": "project_deleted", "project_id": project}
            case n if n < 20:
                return {**common, "type": "project_updated"}
            case n if n < 25:
                return {"type": "user_notification", "user_id": user}
            case 25:
                return {"type": "system_maintenance_start", "priority": 9}
            case n if n < 30:
                return {
                    **common,
                    "type": "task_started",
                    "task_id": task,
                    "user_id": f"u{hash(task) % len(self.users)}",
                }
            case n if n < 70:
                return {**common, "type": "task_output", "task_id": task}
            case _:
                return {**common, "type": "task_note", "category": "task", "task_id": task, "user_id": user}

    async def _publish(self, events: list[dict[str, Any]]) -> None:
        for event, answer in zip(events, await self.publisher.publish(events), strict=True):
            if "error" in answer:
                assert answer["error"]["code"] == "conflict", answer
                continue
            self.figures["published"] += 1
            at = self.acknowledged.get(answer["partition"], 0)
            self.acknowledged[answer["partition"]] = max(at, answer["offset"] + 1)
            self._learn(event)

    def _learn(self, event: dict[str, Any]) -> None:
        members = self.members.setdefault(event.get("project_id", ""), set())
        match event["type"]:
            case "project_created" if not members:
                members.add(event["user_id"])
            case "project_deleted" if event["project_id"] in self.projects:
                # Its id is taken for good: another project takes its place.
                members.clear()
                self.projects.remove(event["project_id"])
                self.figures["deleted"] += 1
                self._coming.append(f"p{self.size.projects + self.figures['deleted']}")
                self.projects.append(self._coming[-1])
            case "project_member_added":
                members.add(event["data"]["user_id"])
                self.figures["added"] += 1
                his = [client for client in self.clients if client.user == event["data"]["user_id"]]
                if his and self.random.random() < 0.5:
                    self.random.choice(his).hints.append(f"project:{event['project_id']}")
            case "project_member_removed":
                members.discard(event["data"]["user_id"])
                self.figures["removed"] += 1


def _membership(verb: str, project: str, user: str, role: str | None) -> dict[str, Any]:
    data = {"user_id": user} if role is None else {"user_id": user, "role": role}
    return {"type": f"project_member_{verb}", "project_id": project, "user_id": "root", "data": data}
