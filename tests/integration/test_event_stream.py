"""`GET /api/v1/events/stream` of real nodes, as curl and a browser's EventSource read it."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.event_source import EventSource
from tests.nodes import ADMIN, WAIT, Ground, Message, NodeProcess, new_ground, numbers, output, started, token
from tests.waiting import until

PATH = "/api/v1/events/stream"
AT_ONCE = 5
"""Connections that a user may have."""


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def node(ground: Ground) -> AsyncIterator[NodeProcess]:
    async with ground.node(max_connections_per_user=AT_ONCE, stream_keepalive_seconds=0.2) as node:
        yield node
        assert "Traceback" not in node.said


class Stream:
    """One request, fed into what may have had others before it."""

    def __init__(self, response: httpx.Response, source: EventSource) -> None:
        self.response = response
        self.source = source
        self._chunks = response.aiter_raw()

    async def until_named(self, type_: str, count: int = 1) -> Message:
        """Read until so many of a name have come; the last of them."""
        async with asyncio.timeout(WAIT):
            while len(found := self.source.named(type_)) < count:
                self.source.feed(await anext(self._chunks))
        return found[-1]

    async def until_end(self) -> None:
        async with asyncio.timeout(WAIT):
            async for chunk in self._chunks:
                self.source.feed(chunk)


@asynccontextmanager
async def streaming(
    node: NodeProcess, source: EventSource, access: str | None = ADMIN, **query: Any
) -> AsyncIterator[Stream]:
    headers = {} if access is None else {"Authorization": f"Bearer {access}"}
    if source.last_event_id:
        headers["Last-Event-ID"] = source.last_event_id
    async with (
        httpx.AsyncClient(trust_env=False, timeout=WAIT, headers=headers) as http,
        http.stream("GET", f"{node.url}{PATH}", params=query) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response, source)


async def refused(node: NodeProcess, access: str | None = ADMIN, *, last_id: str = "", **query: Any) -> httpx.Response:
    headers = {} if access is None else {"Authorization": f"Bearer {access}"}
    async with httpx.AsyncClient(trust_env=False, timeout=WAIT) as http:
        return await http.get(
            f"{node.url}{PATH}", params=query, headers=headers | ({"Last-Event-ID": last_id} if last_id else {})
        )


async def test_each_event_comes_once_over_a_killed_node(ground: Ground, node: NodeProcess) -> None:
    """By one reader that comes back with the last id, as the bytes that the history has; at last it is sent away."""
    source, count = EventSource(), 120
    events = [output("killed", number, data={"number": number, "text": "é\n"}) for number in range(count)]

    async def publish() -> None:
        for begin in range(0, count, 4):
            await node.publish(*events[begin : begin + 4])

    async with ground.node("killed") as other:
        publishing = asyncio.create_task(publish())
        async with streaming(other, source, channel="task:killed", after="earliest") as stream:
            await stream.until_named("message", 8)
            await other.stop()
            with suppress(httpx.TransportError):
                await stream.until_end()
        source.cut()
        assert 0 < len(source.events) < count
        await other.start()
        async with streaming(other, source, channel="task:killed", after="earliest") as stream:
            await stream.until_named("message", count)
            await stream.until_named("caught_up")
            await publishing
            page = await node.history("task:killed", limit="1000")
            assert source.events == [{k: v for k, v in event.items() if k != "appended_at"} for event in page["events"]]
            assert numbers(source.events) == list(range(count))
            assert source.named("gap") == []
            source.retry_ms = None
            assert other.process is not None
            other.process.send_signal(signal.SIGTERM)
            await stream.until_end()  # whole: it was ended, not cut
            assert source.retry_ms is not None
        async with asyncio.timeout(WAIT):
            assert await other.process.wait() == 0
        assert "Traceback" not in other.said


async def test_curl_shows_it(node: NodeProcess) -> None:
    curl = shutil.which("curl")
    assert curl is not None, "curl is needed"
    (place,) = await node.publish(output("curled", 0))
    process = await asyncio.create_subprocess_exec(
        *(curl, "-sN", "-H", f"Authorization: Bearer {ADMIN}", f"{node.url}{PATH}?channel=task:curled&last=1"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    source = EventSource()
    async with asyncio.timeout(WAIT):
        while not source.named("caught_up"):
            source.feed(await process.stdout.readline())
        await node.publish(output("curled", 1))
        while len(source.events) < 2:
            source.feed(await process.stdout.readline())
        # A quiet stream's place moves all the same.
        before = source.last_event_id
        await node.publish(output("elsewhere", 2))
        while source.last_event_id == before:
            source.feed(await process.stdout.readline())
    process.kill()
    await process.wait()
    assert numbers(source.events) == [0, 1]
    assert source.events[0]["offset"] == place["offset"]
    assert source.retry_ms is not None


async def test_who_is_removed_reads_no_more_and_is_not_let_in_again(node: NodeProcess) -> None:
    bob = token("bob")
    member = {"project_id": "club", "user_id": "root", "data": {"user_id": "bob"}}
    await node.publish(
        {"type": "project_created", "project_id": "club", "user_id": "root"},
        {"type": "project_member_added", **member},
        started("secret", project_id="club", user_id="root"),
    )
    source = EventSource()
    channels = ["project:club", "task:secret", "user:bob"]
    async with (
        # EventSource can't set headers.
        streaming(node, source, None, channel=channels, token=bob) as stream,
        streaming(node, EventSource(), bob, channel="task:secret") as one,
    ):
        await stream.until_named("caught_up")
        await one.until_named("caught_up")
        await node.publish(
            output("secret", 1, project_id="club"),
            {"type": "project_member_removed", **member},
            output("secret", 2, project_id="club"),
        )
        assert await one.until_named("unsubscribed") == {
            "type": "unsubscribed",
            "channel": "task:secret",
            "reason": "rights",
        }
        await one.until_end()
        assert one.source.dispatched[-1].type == "unsubscribed"
        # The other has a channel left, and goes on with that.
        await stream.until_named("unsubscribed", 2)
        await node.publish({"type": "user_notification", "user_id": "bob"})
        await stream.until_named("message", len(source.events) + 1)
    assert 2 not in [event["data"].get("number") for event in [*source.events, *one.source.events]]
    assert (await refused(node, bob, channel="task:secret", last_id=one.source.last_event_id)).status_code == 403
    # Whoever comes back names what he began with; as long as something is left of it, he is let in.
    async with streaming(node, source, bob, channel=channels) as stream:
        await stream.until_named("unsubscribed", 4)
        await stream.until_named("caught_up", 2)
    answer = await refused(node, bob, channel=channels)
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")
    assert "project:club" in answer.json()["detail"]


async def test_a_user_has_so_many_streams_and_connections_together(node: NodeProcess) -> None:
    carl = token("carl")
    async with node.client(carl) as client, AsyncExitStack() as stack:
        await client.begin()
        streams = [
            await stack.enter_async_context(streaming(node, EventSource(), carl, channel="user:carl"))
            for _ in range(AT_ONCE - 1)
        ]
        for stream in streams:
            await stream.until_named("caught_up")
        answer = await refused(node, carl, channel="user:carl")
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (429, True)

    async def is_let_in() -> bool:
        with suppress(AssertionError):
            async with streaming(node, EventSource(), carl, channel="user:carl"):
                return True
        return False

    await until(is_let_in, what="those who left being counted no more")


async def test_a_ticket_lets_in_once_and_the_end_of_a_token_ends_the_stream(node: NodeProcess) -> None:
    dora, short = token("dora"), token("dora", ttl=2)
    async with (
        streaming(node, EventSource(), None, channel="user:dora", token=short) as ending,
        httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {dora}"}) as http,
    ):
        ticket = (await http.post(f"{node.url}/api/v1/websocket/ticket")).json()["ticket"]
        async with streaming(node, EventSource(), None, channel="user:dora", ticket=ticket) as stream:
            await stream.until_named("caught_up")
        assert (await refused(node, None, channel="user:dora", ticket=ticket)).status_code == 401
        await ending.until_end()
        assert ending.source.named("error")[-1]["code"] == "token_expired"
    assert (await refused(node, None, channel="user:dora", token=short)).status_code == 401
    assert (await refused(node, None, channel="user:dora")).status_code == 401
    assert not any(secret in node.said for secret in (ticket, short))


@pytest.mark.parametrize(
    ("query", "last", "field", "says"),
    [
        ({}, "", "channel", "needed"),
        ({"channel": ["task:t"] * 101}, "", "channel", "100"),
        ({"channel": "task:t", "after": "earliest", "last": 1}, "", "", "after and last name two starts"),
        ({"channel": [f"task:{n}" for n in range(21)], "last": 1}, "", "", "at most 20 channels"),
        ({"channel": "task:t", "since": "yesterday"}, "", "since", ""),
        ({"channel": "task:t", "limit": 1}, "", "limit", "nothing that this call takes"),
        ({"channel": "task:t"}, "12", "Last-Event-ID", "no position"),
    ],
)
async def test_a_wrong_parameter_is_named(
    node: NodeProcess, query: dict[str, Any], last: str, field: str, says: str
) -> None:
    answer = await refused(node, last_id=last, **query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    (error, *_) = answer.json()["errors"]
    assert error["field"].lower() == field.lower()
    assert says in error["detail"]


async def test_pages_of_other_origins_may_read_it(node: NodeProcess) -> None:
    page = {"Origin": "https://app.example.com", "Authorization": f"Bearer {ADMIN}"}
    asking = page | {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    url = f"{node.url}{PATH}?channel=task:t"
    async with httpx.AsyncClient(trust_env=False, timeout=WAIT) as http:
        async with http.stream("GET", url, headers=page) as response:
            assert response.headers["access-control-allow-origin"] == "*"
        assert (await http.options(url, headers=asking)).status_code == 200
        assert "access-control-allow-origin" not in (await http.get(f"{node.url}/healthz", headers=page)).headers
