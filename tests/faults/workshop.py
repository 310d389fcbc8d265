"""Where tasks are run, whole: servers, nodes that start them, runners that run them, and what the log says of them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults.many_nodes import own_ground
from tests.faults.task_book import TaskBook
from tests.nodes import Ground, Message, NodeProcess, token
from tests.runners import RunnerProcess, RunnerSite, running_site

PROJECTS = ("shop", "yard", "mill")
"""More than one, so that tasks share partitions and don't share them."""
USERS = ("ann", "bob", "cid", "dot")
"""All of them are members of all of these."""


@dataclass
class Workshop:
    """Made by `open_workshop`."""

    ground: Ground
    site: RunnerSite
    nodes: list[NodeProcess]
    book: TaskBook
    runners: list[RunnerProcess] = field(default_factory=list)

    @property
    def acknowledged(self) -> Path:
        """Where the runners write down what Kafka has acknowledged to them."""
        return self.site.folder / "acknowledged"

    async def start(
        self,
        node: NodeProcess,
        task: str,
        command: Sequence[str],
        *,
        user: str = "ann",
        project: str = "shop",
        **more: object,
    ) -> Message:
        """Have a task started, over HTTP: the answer."""
        body = {"project_id": project, "command": [*command], "task_id": task, "id": task, **more}
        answer = await self.post(node, "", body, user)
        assert answer.status_code == 202, answer.text
        said: Message = answer.json()
        assert said["state"] == "applied", said
        return said

    async def post(self, node: NodeProcess, path: str, body: Message, user: str = "ann") -> httpx.Response:
        """`POST /api/v1/tasks` and what is below it. Raises httpx.TransportError."""
        headers = {"Authorization": f"Bearer {token(user)}"}
        async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as http:
            return await http.post(f"{node.url}/api/v1/tasks{path}", json=body)

    async def task(self, node: NodeProcess, task: str) -> Message:
        """`GET /api/v1/tasks/{id}`."""
        headers = {"Authorization": f"Bearer {token('ann')}"}
        async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as http:
            answer = await http.get(f"{node.url}/api/v1/tasks/{task}")
        assert answer.status_code == 200, answer.text
        said: Message = answer.json()
        return said


@asynccontextmanager
async def open_workshop(
    ground: Ground, folder: Path, *, nodes: int, runners: int, lease_seconds: float
) -> AsyncIterator[Workshop]:
    """Everything runs; `folder` is for logs and work."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(running_site(ground, folder))
        await stack.enter_async_context(ground.log_writer())
        await stack.enter_async_context(ground.projections())
        starting = [stack.enter_async_context(ground.node(f"node-{n}")) for n in range(1, nodes + 1)]
        workshop = Workshop(ground, site, list(await asyncio.gather(*starting)), TaskBook(site.log))
        await workshop.nodes[0].publish(*_projects())
        for number in range(1, runners + 1):
            runner = site.runner(
                f"runner-{number}",
                module="tests.faults.acknowledging_runner",
                acknowledged=workshop.acknowledged,
                runner_lease_seconds=lease_seconds,
            )
            workshop.runners.append(await stack.enter_async_context(runner))
        yield workshop
        for node in workshop.nodes:
            assert "Traceback" not in node.said, node.said[node.said.index("Traceback") :][:3000]


@asynccontextmanager
async def own_workshop(*, nodes: int, runners: int, lease_seconds: float = 10.0) -> AsyncIterator[Workshop]:
    """The same, on a Kafka and a Postgres of its own."""
    with tempfile.TemporaryDirectory(prefix="lastseen-workshop-") as folder:
        async with (
            own_ground(partitions=4) as ground,
            open_workshop(ground, Path(folder), nodes=nodes, runners=runners, lease_seconds=lease_seconds) as workshop,
        ):
            yield workshop


def _projects() -> list[Message]:
    owner, *others = USERS
    events: list[Message] = []
    for project in PROJECTS:
        events.append({"type": "project_created", "project_id": project, "data": {"owner_id": owner}})
        for user in others:
            data = {"user_id": user, "role": "member"}
            events.append({"type": "project_member_added", "project_id": project, "data": data})
    return events
