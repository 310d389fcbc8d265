"""Presence of several nodes that share a topic and a log, in simulated time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic_core import from_json

from service.adapters.memory import MemoryLog
from service.adapters.memory_presence import MemoryPresence
from service.domain.errors import LogUnavailable, Unavailable
from service.domain.identity import Identity
from service.domain.presence_records import About
from service.domain.subscriptions import Subscriptions
from service.node.connections import Connections
from service.node.pace import Pace
from service.node.presence import Presence
from service.ports import PresenceReader
from service.settings import Settings
from tests.simulation import simulate
from tests.waiting import until

SETTINGS = Settings()
LEASE = SETTINGS.presence_lease_seconds
GRACE = SETTINGS.presence_grace_seconds


def now_ms() -> int:
    return round(asyncio.get_running_loop().time() * 1000)


@dataclass
class Link:
    """One node's way to the topic."""

    topic: MemoryPresence
    is_cut: bool = False

    async def append(self, entries: Sequence[tuple[str, bytes | None]]) -> int:
        await asyncio.sleep(0.002)
        self._check()
        return await self.topic.append(entries)

    def follow(self, start: int | None) -> AbstractAsyncContextManager[PresenceReader]:
        self._check()
        return self._follow(start)

    @asynccontextmanager
    async def _follow(self, start: int | None) -> AsyncIterator[PresenceReader]:
        async with self.topic.follow(start) as reader:
            yield _Cut(self, reader)

    def _check(self) -> None:
        if self.is_cut:
            raise LogUnavailable("the node is cut off")


@dataclass
class _Cut:
    link: Link
    reader: PresenceReader

    @property
    def end(self) -> int:
        return self.reader.end

    async def read(self) -> Any:
        batch = await self.reader.read()
        self.link._check()
        return batch


@dataclass(eq=False)
class Client:
    """What presence asks of a connection."""

    id: str
    identity: Identity
    subscriptions: Subscriptions = field(default_factory=Subscriptions)


class Node:
    """One node's presence."""

    def __init__(self, site: "Site", name: str) -> None:
        self.link = Link(site.topic)
        self.connections = Connections()
        clock: Any = type("Clock", (), {"now_ms": staticmethod(now_ms)})
        settings = SETTINGS.model_copy(update={"instance_id": name})
        self.presence = Presence(settings, self.link, site.events, self.connections, clock, Pace(4))
        self.clients: dict[str, Client] = {}
        self.task = asyncio.create_task(self.presence.run())

    def connect(self, user: str, *channels: str, project: str | None = None, id_: str | None = None) -> str:
        client: Any = Client(id_ or f"{user}-{len(self.clients)}", Identity(user, "", frozenset(), frozenset(), 2**40))
        self.clients[client.id] = client
        self.connections.add(client)
        for channel in channels:
            client.subscriptions.live.add(channel)
            self.connections.watch(channel, client)
        self.presence.connected(client.id, user, project)
        return str(client.id)

    def disconnect(self, id_: str) -> None:
        client: Any = self.clients.pop(id_)
        self.connections.remove(client)
        for channel in client.subscriptions.channels:
            self.connections.unwatch(channel, client)
        self.presence.disconnected(id_)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def die(self) -> None:
        """As by kill -9: it says no goodbye."""
        self.link.is_cut = True
        await self.leave()


class Site:
    """Nodes that share a topic and a log."""

    def __init__(self) -> None:
        self.topic = MemoryPresence(now_ms)
        self.events = MemoryLog(1, now_ms)
        self.nodes: list[Node] = []

    def start(self, name: str) -> Node:
        node = Node(self, name)
        self.nodes.append(node)
        return node

    async def told(self, user: str) -> list[str]:
        """The types of the user's events, each id once."""
        return [event["type"] for event in await self.told_events(user)]

    async def told_events(self, user: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        end = (await self.events.bounds())[0].next
        async for batch in self.events.read(0, 0, end):
            for raw in batch.records:
                event = from_json(raw.value or b"")
                if event["user_id"] == user:
                    found.setdefault(event["id"], event)
        return list(found.values())

    async def until_told(self, user: str, *types: str, within: float) -> float:
        """Wait for exactly these; how long that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def are_told() -> bool:
            return await self.told(user) == list(types)

        await until(are_told, timeout=within, what=f"{types} being told")
        return loop.time() - began


def simulated(test: Callable[[Site], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in a loop in which time passes at once; nothing of it goes on."""

    async def main() -> None:
        site = Site()
        try:
            await test(site)
        finally:
            for node in site.nodes:
                await node.leave()

    def run() -> None:
        simulate(main)

    run.__name__ = test.__name__
    return run


@simulated
async def test_the_first_connection_and_the_end_of_the_last_are_told_once(site: Site) -> None:
    one, other = site.start("node-1"), site.start("node-2")
    first = one.connect("ann", project="shop")
    assert await site.until_told("ann", "user_online", within=1) < 0.5
    second = other.connect("ann")
    await asyncio.sleep(60)
    one.disconnect(first)
    await asyncio.sleep(60)
    assert await site.told("ann") == ["user_online"]
    other.disconnect(second)
    took = await site.until_told("ann", "user_online", "user_offline", within=GRACE + 5)
    assert took >= GRACE
    online, offline = await site.told_events("ann")
    assert online["channels"] == offline["channels"] == ["project:shop", "user:ann"]
    assert online["data"] == {"node": "node-1"}


@simulated
async def test_coming_back_within_the_grace_to_another_node_is_no_flap(site: Site) -> None:
    nodes = [site.start("node-1"), site.start("node-2"), site.start("node-3")]
    for turn in range(9):
        node = nodes[turn % 3]
        id_ = node.connect("ann")
        await asyncio.sleep(3)
        node.disconnect(id_)
        await asyncio.sleep(GRACE - 2)
    assert await site.told("ann") == ["user_online"]


@simulated
async def test_a_killed_node_is_forgotten_everywhere_and_its_users_go_offline(site: Site) -> None:
    killed, one, other = site.start("node-1"), site.start("node-2"), site.start("node-3")
    killed.connect("ann")
    killed.connect("bob")
    one.connect("bob")
    await asyncio.sleep(30)
    await killed.die()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await until(lambda: _knows_only(one, "node-2", "node-3"), timeout=30, what="node-1 being forgotten")
    await until(lambda: _knows_only(other, "node-2", "node-3"), timeout=1, what="node-1 being forgotten")
    await site.until_told("ann", "user_online", "user_offline", within=began + 30 - loop.time())
    assert await site.told("bob") == ["user_online"]


async def _knows_only(node: Node, *names: str) -> bool:
    return [one.node for one in (await node.presence.stats(About())).nodes] == list(names)


@simulated
async def test_a_node_that_was_started_again_is_told_from_the_one_that_was_killed(site: Site) -> None:
    killed, other = site.start("node-1"), site.start("node-2")
    killed.connect("ann")
    await asyncio.sleep(30)
    await killed.die()
    site.start("node-1")
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(LEASE / 3)
    nodes = (await other.presence.stats(About())).nodes
    assert [(one.node, one.answering, one.lease_ms is None) for one in nodes] == [
        ("node-1", False, False),
        ("node-1", True, True),
        ("node-2", True, True),
    ]
    former, present = nodes[0], nodes[1]
    assert former.incarnation < present.incarnation
    assert former.lease_ms is not None
    gone_at = loop.time() + former.lease_ms / 1000
    await until(
        lambda: _knows_only(other, "node-1", "node-2"), timeout=LEASE * 2, what="the killed one being forgotten"
    )
    assert loop.time() == pytest.approx(gone_at, abs=LEASE / 5)
    assert loop.time() > began + LEASE / 3


@simulated
async def test_whoever_returns_after_all_nodes_left_was_never_away(site: Site) -> None:
    one, other = site.start("node-1"), site.start("node-2")
    one.connect("ann")
    other.connect("bob")
    await asyncio.sleep(30)
    await one.leave()
    await other.die()
    await asyncio.sleep(300)
    site.topic.compact()
    new = site.start("node-1")
    await asyncio.sleep(GRACE / 2)
    new.connect("ann")
    await site.until_told("bob", "user_online", "user_offline", within=LEASE + GRACE + 10)
    assert await site.told("ann") == ["user_online"]
    assert [node.node for node in (await new.presence.ask(About())).nodes] == ["node-1"]


@simulated
async def test_a_node_that_was_cut_off_joins_anew(site: Site) -> None:
    cut, other = site.start("node-1"), site.start("node-2")
    cut.connect("ann")
    await asyncio.sleep(10)
    cut.link.is_cut = True
    await site.until_told("ann", "user_online", "user_offline", within=30 + GRACE)
    assert (await other.presence.ask(About())).connections == 0
    cut.link.is_cut = False
    await site.until_told("ann", "user_online", "user_offline", "user_online", within=10)
    total = await other.presence.ask(About())
    assert (total.connections, total.users, [node.answering for node in total.nodes]) == (1, 1, [True, True])
    await asyncio.sleep(2 * LEASE)
    site.topic.compact()
    kinds = Counter(record.key.partition("/")[0] for record in site.topic._records)
    assert (kinds["lease"], kinds["user"], kinds["session"]) == (2, 1, 1), "nothing is left of the former life"


@simulated
async def test_an_outage_of_kafka_is_nobodys_end(site: Site) -> None:
    one, other = site.start("node-1"), site.start("node-2")
    one.connect("ann")
    moved = other.connect("bob")
    await asyncio.sleep(30)
    site.topic.available = site.events.available = False
    await asyncio.sleep(5)
    other.disconnect(moved)
    one.connect("bob")
    with pytest.raises(Unavailable, match="asked now"):
        await one.presence.ask(About(channel="project:p"))
    total = await one.presence.stats(About())
    assert (total.connections, total.users) == (3, 2), "its own two, and one that the other wrote last"
    assert [(node.node, node.answering) for node in total.nodes] == [("node-1", True), ("node-2", False)]
    await asyncio.sleep(3600)
    site.topic.available = site.events.available = True
    await asyncio.sleep(LEASE * 3)
    assert await site.told("ann") == await site.told("bob") == ["user_online"]
    total = await other.presence.ask(About())
    assert [(node.node, node.connections, node.answering) for node in total.nodes] == [
        ("node-1", 2, True),
        ("node-2", 0, True),
    ]


@simulated
async def test_what_is_asked_counts_what_is_connected_now(site: Site) -> None:
    one, other = site.start("node-1"), site.start("node-2")
    await asyncio.sleep(1)
    for node in (one, other):
        node.connect("ann", "user:ann", "project:p", id_=f"ann-{id(node)}")
        node.connect("bob", "user:bob", id_=f"bob-{id(node)}")
    left_out = other.connect("eve", "user:eve", "project:p", "task:t")
    total = await one.presence.ask(About())
    assert (total.connections, total.users, total.channels) == (5, 3, 5)
    assert [(node.connections, node.users, node.channels) for node in total.nodes] == [(2, 2, 3), (3, 3, 5)]
    assert (await one.presence.ask(About(channel="project:p"))).listed_users == ["ann", "eve"]
    assert (await other.presence.ask(About(channel="task:none"))).listed_users == []
    total = await one.presence.ask(About(channel="project:p", without=left_out))
    assert (total.connections, total.users, total.channels) == (2, 1, 1)
    total = await one.presence.ask(About(user="ann"))
    assert (total.connections, total.users, total.channels) == (2, 1, 2)
    total = await one.presence.ask(About(user="eve", channel="task:t"))
    assert (total.connections, total.users, total.channels) == (1, 1, 1)


@simulated
async def test_a_node_that_does_not_answer_is_named(site: Site) -> None:
    one, silent = site.start("node-1"), site.start("node-2")
    silent.connect("ann")
    await asyncio.sleep(1)
    silent.link.is_cut = True
    loop = asyncio.get_running_loop()
    began = loop.time()
    total = await one.presence.ask(About(user="ann"))
    assert loop.time() - began < 1.5
    assert total.silent == ["node-2"]
    assert total.connections == 1, "what it wrote last"
    assert [(node.node, node.channels, node.answering) for node in total.nodes] == [
        ("node-1", 0, True),
        ("node-2", None, False),
    ]


@simulated
async def test_a_topic_made_anew_is_filled_anew(site: Site) -> None:
    one, other = site.start("node-1"), site.start("node-2")
    one.connect("ann")
    await asyncio.sleep(60)
    emptied = MemoryPresence(now_ms)
    site.topic.available = False
    one.link.topic = other.link.topic = emptied
    await asyncio.sleep(2 * LEASE)
    total = await other.presence.ask(About())
    assert (total.connections, total.users, len(total.nodes)) == (1, 1, 2)


@simulated
async def test_a_crowd_is_told_of_in_a_moment(site: Site) -> None:
    one, other = site.start("node-1"), site.start("node-2")
    await asyncio.sleep(1)
    ids = [one.connect(f"user-{number}") for number in range(2500)]
    await asyncio.sleep(2)
    assert (await other.presence.ask(About())).users == 2500
    assert (await site.events.bounds())[0].next == 2500, "one user_online for each"
    for id_ in ids:
        one.disconnect(id_)
    await asyncio.sleep(GRACE + 3)
    assert (await site.events.bounds())[0].next == 5000
    assert not other.presence._fold._holdings
