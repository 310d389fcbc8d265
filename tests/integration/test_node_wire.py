"""A node's WebSocket as its clients see it: what it says, whom it lets in, and what it makes of nonsense."""

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator

import pytest
from lastseen.positions import Position
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.nodes import ADMIN, Ground, Message, NodeProcess, new_ground, numbers, output, started, token
from tests.waiting import until


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module", params=[True, False], ids=["direct", "asgi"])
async def node(ground: Ground, request: pytest.FixtureRequest) -> AsyncIterator[NodeProcess]:
    """A node without a log writer. Nothing in this module may make it log a traceback, or a token.

    One writes frames to the server's transport, the other sends messages as on any ASGI server.
    """
    async with ground.node(max_subscriptions=20, direct_writes=request.param) as node:
        yield node
        assert "Traceback" not in node.said
        assert "eyJ" not in node.said


async def test_the_first_message(node: NodeProcess, ground: Ground) -> None:
    async with node.client(token("ann", projects=["shop"]), project_id="shop") as client:
        assert client.socket.subprotocol == "lastseen.v1"
        hello = await client.next()
        caught_up = await client.hear("caught_up")
        assert caught_up["channels"] == ["user:ann"]
        assert (await client.next())["type"] == "ping", "for who answers it: the durable cursor moves there"
    position = hello["position"]
    assert re.fullmatch(rf"{ground.epoch}:0=-?\d+,1=-?\d+,2=-?\d+,3=-?\d+", position)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", hello.pop("timestamp"))
    assert re.fullmatch(r"[0-9a-f]{32}", hello.pop("connection_id"))
    assert hello == {
        "type": "connection_established",
        "user_id": "ann",
        "node": "node-1",
        "protocol": 1,
        "heartbeat_seconds": 30,
        "position": position,
        "subscriptions": [
            # What came while away: seven days of it, since there is no cursor yet.
            {
                "channel": "user:ann",
                "position": hello["subscriptions"][0]["position"],
                "live": False,
                "recovered": True,
            },
            {"channel": "broadcast", "position": position, "live": True},
            {"channel": "project:shop", "position": position, "live": True},
        ],
    }
    async with node.client(token("ann"), after=position) as client:
        hello = await client.next()
        assert hello["recovered"] is True
        assert hello["subscriptions"] == [
            {"channel": channel, "position": position, "live": False, "recovered": True}
            for channel in ("user:ann", "broadcast")
        ]
        caught_up = await client.next()
        assert (caught_up["type"], sorted(caught_up["channels"])) == ("caught_up", ["broadcast", "user:ann"])


async def test_the_token_may_come_three_ways(node: NodeProcess) -> None:
    ann, bob = token("ann"), token("bob")
    async with node.client(None, headers={"Authorization": f"Bearer {ann}"}) as client:
        assert (await client.next())["user_id"] == "ann"
    async with node.client(None, token=ann) as client:
        assert (await client.next())["user_id"] == "ann"
    async with node.client(ann, headers={"Authorization": f"Bearer {bob}"}, token=bob) as client:
        assert (await client.next())["user_id"] == "ann", "the subprotocol comes first"
    async with node.client(None, headers={"Cookie": f"token={ann}"}) as client:
        assert await client.end() == (1008, "Authentication required")


@pytest.mark.parametrize(
    ("access", "query", "reason"),
    [
        (None, {}, "Authentication required"),
        ("nonsense", {}, "Invalid token"),
        (token("ann", ttl=-60), {}, "Invalid token"),
        (ADMIN[:-2], {}, "Invalid token"),
        (token("ann"), {"project_id": "shop"}, "Project access denied"),
        (token("ann"), {"project_id": ""}, "Project access denied"),
        (token("ann"), {"after": "nonsense"}, "Invalid position"),
        (token("ann"), {"after": ""}, "Invalid position"),
    ],
)
async def test_who_is_not_let_in_sees_the_code(
    node: NodeProcess, access: str | None, query: dict[str, str], reason: str
) -> None:
    async with node.client(access, headers=None, **query) as client:
        assert await client.end() == (1008, reason)


@pytest.mark.parametrize(
    ("message", "error", "code"),
    [
        ("garbage", "Invalid JSON format", "invalid_json"),
        ("", "Invalid JSON format", "invalid_json"),
        ("[1]", "Invalid JSON format", "invalid_json"),
        ("NaN", "Invalid JSON format", "invalid_json"),
        ('{"type":"ping","ref":NaN}', "Invalid JSON format", "invalid_json"),
        ("[" * 60_000, "Invalid JSON format", "invalid_json"),
        (b"\xff\x00", "Invalid JSON format", "invalid_json"),
        ({}, "Missing message type", "missing_type"),
        ({"type": 7}, "Missing message type", "missing_type"),
        ({"type": "dance", "ref": 1}, "Unknown message type: dance", "unknown_type"),
        ({"type": "ping", "ref": []}, None, "invalid_ref"),
        ({"type": "subscribe", "ref": "a"}, "Channel name required", "channel_required"),
        ({"type": "subscribe", "channel": ""}, "Channel name required", "channel_required"),
        ({"type": "unsubscribe", "channels": [1]}, "Channel name required", "channel_required"),
        ({"type": "subscribe", "channels": [f"task:{n}" for n in range(1001)]}, None, "too_many_channels"),
        ({"type": "subscribe", "channel": "nonsense", "ref": 1.5}, "Channel access denied", "access_denied"),
        ({"type": "subscribe", "channel": "task:\x00"}, "Channel access denied", "access_denied"),
        ({"type": "subscribe", "channel": "broadcast", "after": "nonsense"}, None, "invalid_position"),
        ({"type": "subscribe", "channel": "broadcast", "after": 7}, None, "invalid_position"),
        ({"type": "subscribe", "channel": "broadcast", "last": 0}, None, "invalid_last"),
        ({"type": "subscribe", "channel": "broadcast", "since": "noon"}, None, "invalid_time"),
        ({"type": "subscribe", "channel": "broadcast", "last": 1, "after": "earliest"}, None, "two_starts"),
        ({"type": "subscribe", "channels": [f"user:{n}" for n in range(2)]}, "Channel access denied", "access_denied"),
    ],
)
async def test_every_error_is_answered_and_the_connection_stays(
    node: NodeProcess, message: Message | str | bytes, error: str | None, code: str
) -> None:
    async with node.client(token("ann")) as client:
        await client.begin()
        answer = await client.ask(message)
        assert (answer["type"], answer["code"]) == ("error", code)
        assert error is None or answer["message"] == error
        ref = message.get("ref") if isinstance(message, dict) and code != "invalid_ref" else None
        assert answer.get("ref") == ref
        await client.quiet()


async def test_more_subscriptions_than_may_be(node: NodeProcess) -> None:
    async with node.client() as client:
        await client.begin()
        await client.send({"type": "subscribe", "channels": [f"task:{number}" for number in range(25)]})
        await client.quiet()
        taken = [message for message in client.heard if message["type"] == "subscription_result"]
        refused = [message for message in client.heard if message.get("code") == "too_many_subscriptions"]
        assert (len(taken), len(refused)) == (18, 7), "two are automatic"
        await client.send({"type": "unsubscribe", "channels": ["task:0", "task:1", "never subscribed"]})
        await client.hear("unsubscription_result", channel="never subscribed", unsubscribed=True)
        assert (await client.subscribe("task:30"))["subscribed"]


async def test_what_breaks_the_rules_of_websockets_is_closed(node: NodeProcess) -> None:
    async with node.client() as client:
        await client.begin()
        await client.send("x" * 70_000)
        assert (await client.end())[0] == 1009
    async with node.client() as client:
        await client.begin()
        client.socket.transport.write(b"\x81\x82\0\0\0\0\xff\xff")
        assert (await client.end())[0] == 1007
    async with node.client() as client:
        await client.begin()
        client.socket.transport.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.end())[0] == 1002
    for nonsense in (b"\x00\xff" * 500, b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(nonsense)
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 4")
        writer.close()
    async with node.client() as client:
        await client.begin()
        assert (await client.ask(b'{"type":"ping","ref":3}'))["ref"] == 3, "a binary message is read like a text"


async def test_a_hand_shake_in_pieces_and_what_is_said_right_behind_it(node: NodeProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = (
        f"GET /ws?token={token('ann')} HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    said = [json.dumps({"type": "ping", "ref": f"behind {number}"}).encode() for number in range(3)]
    first, second = Frame(Opcode.TEXT, said[1][:7], fin=False), Frame(Opcode.CONT, said[1][7:])
    behind = Frame(Opcode.TEXT, said[0]).serialize(mask=True) + first.serialize(mask=True)
    writer.write(head[:20])
    await writer.drain()
    assert (await until(lambda: node.sockets, what="the connection")) >= 1
    writer.write(head[20:])
    await reader.readuntil(b"\r\n\r\n")
    writer.write(behind)
    writer.write(second.serialize(mask=True) + Frame(Opcode.TEXT, said[2]).serialize(mask=True))
    async with asyncio.timeout(30):
        for number in range(3):
            await reader.readuntil(f'"ref":"behind {number}"'.encode())
    writer.transport.abort()


async def test_subscribed_live_until_unsubscribed(node: NodeProcess) -> None:
    async with node.client(project_id="p-live") as client:
        hello = await client.begin()
        result = await client.subscribe("task:t-live", ref="r")
        assert result == {
            "type": "subscription_result",
            "channel": "task:t-live",
            "subscribed": True,
            "position": result["position"],
            "ref": "r",
        }
        assert result["position"] == hello["position"]
        event = output("t-live", 1, project_id="p-live", id=f"one-{node.port}", timestamp="2026-01-01T00:00:00+01:00")
        (place,) = await node.publish(event)
        assert await client.next() == {
            "id": f"one-{node.port}",
            "type": "task_output",
            "category": "task",
            "task_id": "t-live",
            "project_id": "p-live",
            "user_id": None,
            "sender_id": None,
            "target_user_id": None,
            "priority": 5,
            "ttl": None,
            "timestamp": "2025-12-31T23:00:00.000000Z",
            "channels": ["task:t-live", "project:p-live"],
            "data": {"number": 1},
            "partition": place["partition"],
            "offset": place["offset"],
        }
        again = await client.subscribe("task:t-live")
        assert f"{place['partition']}={place['offset']}" in again["position"], "how far it has been served"
        for channel in ("project:p-live", "task:t-live"):
            await client.send({"type": "unsubscribe", "channel": channel})
            await client.hear("unsubscription_result", channel=channel, unsubscribed=True)
        await node.publish(output("t-live", 2, project_id="p-live"))
        async with node.client() as other:
            await other.subscribe("task:t-live", after="earliest")
            await other.hear("task_output", data={"number": 2})
        await client.quiet()
        assert numbers(client.events) == [1], "once, though on two channels; and not after the end"


async def test_who_may_read_what(node: NodeProcess) -> None:
    await node.publish(
        started("of-shop", project_id="shop", user_id="cem"), started("of-cem", user_id="cem"), started("nobody-s")
    )
    ann, cem, root = token("ann", projects=["shop"]), token("cem"), token("root", role="super_admin")
    liar = token("user", role="Admin", projects=["*"])
    allowed = {
        "user:ann": {ann},
        "user:root": {root},
        "project:shop": {ann, root},
        "project:*": {root},
        "task:of-shop": {ann, cem, root},
        "task:of-cem": {cem, root},
        "task:nobody-s": {root},
        "task:unknown": {root},
        "system": {root},
        "broadcast": {ann, cem, root, liar},
        "broadcast:x": set(),
        "task:": set(),
        "Task:of-shop": set(),
    }
    for access in (ann, cem, root, liar):
        async with node.client(access) as client:
            await client.begin()
            for channel, may in allowed.items():
                answer = await client.ask({"type": "subscribe", "channel": channel})
                wanted = "subscription_result" if access in may and channel != "project:*" else "error"
                assert (answer["type"], answer["channel"]) == (wanted, channel)
                assert wanted != "error" or answer["message"] == "Channel access denied"


async def test_a_task_that_was_started_a_moment_ago_may_be_read(node: NodeProcess) -> None:
    async with node.client(token("ann", projects=["shop"])) as client:
        await client.begin()
        for number in range(20):
            await node.publish(started(f"new-{number}", project_id="shop"))
            answer = await client.ask({"type": "subscribe", "channel": f"task:new-{number}", "after": "earliest"})
            assert answer["type"] == "subscription_result", answer
            await client.hear("caught_up", channels=[f"task:new-{number}"])
            await client.send({"type": "unsubscribe", "channel": f"task:new-{number}"})
            await client.hear("unsubscription_result")


async def test_system_events_and_broadcasts(node: NodeProcess) -> None:
    async with node.client(token("ann")) as ann, node.client() as root:
        await ann.begin()
        await root.subscribe("system")
        await node.publish(
            {"type": "system_performance_alert", "priority": 7, "data": {"number": 1}},
            {"type": "system_security_alert", "priority": 8, "data": {"number": 2}},
        )
        await root.hear("system_security_alert")
        await ann.hear("system_security_alert")
        assert (numbers(root.events), numbers(ann.events)) == ([1, 2], [2])


async def test_a_node_that_ends_says_so(ground: Ground) -> None:
    async with ground.node() as node, node.client() as first, node.client() as second:
        await first.begin()
        await second.subscribe("task:x", after="earliest")
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        for client in (first, second):
            assert await client.end() == (1001, "Server is going away, come back within 250 ms")
        async with asyncio.timeout(20):
            assert await node.process.wait() == 0
        assert "Traceback" not in node.said


async def test_a_node_ends_though_a_client_does_not_read(ground: Ground) -> None:
    async with ground.node() as node:
        await node.publish(*[output("stuck", number, data={"text": "x" * 100_000}) for number in range(100)])
        async with node.client() as client:
            await client.subscribe("task:stuck", after="earliest")
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                assert await node.process.wait() == 0
        assert "ERROR" not in node.said


async def test_heartbeats(ground: Ground) -> None:
    async with ground.node(
        heartbeat_seconds=1, heartbeat_timeout_seconds=6, max_connections=4, jwt_leeway_seconds=0
    ) as node:
        await node.publish(*[output("beat", number, data={"text": "x" * 100_000}) for number in range(300)])
        async with (
            node.client(token("ann")) as talking,
            node.client() as silent,
            node.client() as stuck,
            node.client(token("bob", ttl=2)) as expiring,
        ):
            assert (await talking.begin())["heartbeat_seconds"] == 1
            async with node.client() as one_too_many:
                assert await one_too_many.end() == (4429, "Too many connections")
            await stuck.subscribe("task:beat", after="earliest")
            (place,) = await node.publish({"type": "user_notification", "user_id": "ann"})
            for _ in range(4):
                ping = await talking.hear("ping")
                assert ping.keys() == {"type", "timestamp", "position"}
                await talking.send({"type": "pong"})
                with contextlib.suppress(ConnectionClosed):
                    await expiring.send({"type": "pong"})
            # Others come and go in the same partition, so it may have got further.
            while not Position.parse(ping["position"]).has_seen(place["partition"], place["offset"]):
                ping = await talking.hear("ping")
                await talking.send({"type": "pong"})
            assert await expiring.end() == (4401, "Token expired")
            assert await silent.end() == (4408, "Heartbeat timeout")
            # Nobody talks any more. The one that does not read has not even taken its close frame.
            await until(lambda: node.sockets == 0, timeout=25, what="the node having let go of all of them")
        assert "Traceback" not in node.said


async def test_a_client_that_vanishes_leaves_nothing(node: NodeProcess) -> None:
    address = node.url.replace("http", "ws") + "/ws"
    await until(lambda: node.sockets == 0, what="no connection left over")
    for number in range(60):
        access = ADMIN if number % 3 else "nonsense"
        socket = await connect(address, proxy=None, additional_headers={"Authorization": f"Bearer {access}"})
        with contextlib.suppress(ConnectionClosed):
            await socket.send('{"type":"subscribe","channel":"task:x","after":"earliest"}')
        socket.transport.abort()
    await until(lambda: node.sockets == 0, what="all of them closed")
