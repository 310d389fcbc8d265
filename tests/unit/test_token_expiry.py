"""The end of a token on an open connection: told, put off by another token, and kept."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from service.adapters.memory import MemoryLog
from service.adapters.tokens import issue
from service.domain.duplicates import LookBack
from service.domain.identity import Identity
from service.domain.messages import rfc3339
from service.node.node import Node
from service.node.opening import open_conversation
from service.node.tail import TailStart
from service.ports import Epoch
from service.settings import Settings
from tests.outside import from_nothing, outside_of
from tests.raw import raw_of, task_event
from tests.service_process import SECRET
from tests.simulation import SimulatedPort

BEGIN = int(time.time()) + 3600
"""When the simulated time begins. Signatures are checked by the machine's own, which is to stay behind it."""


class Client:
    """A connection of ann's, whose time passes when told to."""

    def __init__(self, tasks: asyncio.TaskGroup, ttl: int, role: str, projects: Sequence[str]) -> None:
        self.seconds = 0
        self._kept: list[dict[str, Any]] = []
        clock: Any = SimpleNamespace(now_ms=lambda: (BEGIN + self.seconds) * 1000)
        start = TailStart({0: 0}, {0: 0}, {0: LookBack()})
        settings = Settings(trust_project_claims=True, jwt_leeway_seconds=0, heartbeat_timeout_seconds=1000)
        self.node = Node(settings, outside_of(MemoryLog(1), clock), Epoch(1, "e", 1), from_nothing(start), tasks)
        self.port = SimulatedPort(self.node.services.low_water)
        identity = Identity("ann", role, frozenset(projects), frozenset(), BEGIN + ttl)
        connection = self.node.connect(self.port, identity)
        assert connection is not None
        self.connection = self.port.connection = connection

    async def open(self) -> None:
        await open_conversation(self.connection, None, None)
        assert self.heard("connection_established")

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.seconds += 1
            self.node.services.heartbeat.tick()

    def heard(self, *types: str) -> list[dict[str, Any]]:
        """What has come since the last call, of these types."""
        come, self._kept = [*self._kept, *self.port.read(1000)], []
        return [message for message in come if message["type"] in types]

    async def ask(self, **message: object) -> dict[str, Any]:
        """Say something; its one answer."""
        await self.connection.receive(json.dumps({**message, "ref": 1}))
        come = self.port.read(1000)
        self._kept += [message for message in come if message.get("ref") != 1]
        (answer,) = [message for message in come if message.get("ref") == 1]
        return answer

    async def authenticate(self, user: str = "ann", ttl: int = 3600, role: str = "", **more: Any) -> dict[str, Any]:
        now = int(time.time())
        token = issue(SECRET, user, role, more.get("projects", []), [], BEGIN + ttl - now, now)
        return await self.ask(type="authenticate", token=token)


@asynccontextmanager
async def client(ttl: int, role: str = "", projects: Sequence[str] = ()) -> AsyncIterator[Client]:
    async with asyncio.TaskGroup() as tasks:
        client = Client(tasks, ttl, role, projects)
        yield client
        client.node.abort()
        client.node.puller.cancel()


async def test_it_is_told_a_minute_before_and_closes_on_time() -> None:
    async with client(85) as ann:
        await ann.open()
        ann.wait(24)
        assert not ann.heard("token_expiring")
        ann.wait(1)
        assert ann.heard("token_expiring") == [{"type": "token_expiring", "expires_at": rfc3339((BEGIN + 85) * 1000)}]
        ann.wait(59)
        assert not ann.heard("token_expiring"), "once is enough"
        assert ann.port.closed is None
        ann.wait(1)
        assert ann.port.closed == (4401, "Token expired")


async def test_it_is_told_at_once_where_less_is_left() -> None:
    async with client(30) as ann:
        await ann.open()
        ann.wait(1)
        assert ann.heard("token_expiring")


async def test_it_is_told_though_it_came_near_before_the_greeting() -> None:
    async with client(30) as ann:
        ann.wait(3)
        assert not ann.heard("token_expiring"), "nothing comes before the greeting"
        await ann.open()
        ann.wait(1)
        assert ann.heard("token_expiring")
        ann.wait(25)
        assert ann.port.closed is None
        ann.wait(1)
        assert ann.port.closed == (4401, "Token expired")


async def test_another_token_puts_it_off() -> None:
    async with client(70) as ann:
        await ann.open()
        ann.wait(20)
        assert ann.heard("token_expiring")
        assert await ann.authenticate(ttl=200) == {
            "type": "authentication_result",
            "authenticated": True,
            "expires_at": rfc3339((BEGIN + 200) * 1000),
            "ref": 1,
        }
        ann.wait(119)
        assert not ann.heard("token_expiring")
        ann.wait(1)
        assert ann.heard("token_expiring"), "a minute before the end of the other one"
        ann.wait(60)
        assert ann.port.closed == (4401, "Token expired")
        await ann.connection.receive('{"type":"ping"}')
        assert not ann.heard("pong"), "closed is closed"


async def test_a_token_that_is_no_good_changes_nothing() -> None:
    async with client(70, role="admin") as ann:
        await ann.open()
        for answer, code in (
            (await ann.authenticate("bob", role="admin"), "another_user"),
            (await ann.authenticate(ttl=-4000), "invalid_token"),
            (await ann.ask(type="authenticate", token="x" * 100), "invalid_token"),
            (await ann.ask(type="authenticate"), "token_required"),
        ):
            assert (answer["type"], answer["code"]) == ("error", code)
            assert "eyJ" not in answer["message"]
        assert (await ann.ask(type="subscribe", channel="system"))["subscribed"], "she is who she was"
        ann.wait(70)
        assert ann.port.closed == (4401, "Token expired")


async def test_what_another_token_no_longer_grants_ends() -> None:
    async with client(3600, role="admin", projects=["p", "q"]) as ann:
        await ann.open()
        start = task_event("mine", "task_started", user_id="ann"), task_event("t", "task_started", project_id="p")
        ann.node.tail.step([raw_of(0, number, event) for number, event in enumerate(start)], {0: 2})
        for channel in ("system", "project:p", "project:q", "task:mine", "task:t"):
            assert (await ann.ask(type="subscribe", channel=channel))["subscribed"]
        assert (await ann.authenticate(projects=["q"]))["authenticated"]
        ended = {one["channel"]: one["reason"] for one in ann.heard("unsubscribed")}
        assert ended == dict.fromkeys(["system", "project:p", "task:t"], "token")
        assert sorted(ann.connection.subscriptions.channels) == ["broadcast", "project:q", "task:mine", "user:ann"]
        ann.node.tail.step([raw_of(0, 2, task_event("t", project_id="p"))], {0: 3})
        assert not ann.heard("task_output")
        assert (await ann.authenticate(projects=["p", "q"]))["authenticated"]
        assert not ann.heard("unsubscribed")
        assert (await ann.ask(type="subscribe", channel="project:p"))["subscribed"], "more may be asked for again"
        assert (await ann.ask(type="subscribe", channel="system"))["code"] == "access_denied"
