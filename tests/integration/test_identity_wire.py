"""Who is let into a node, by what, and how much he may do: two nodes that write everything to their logs.

No token and no ticket of this module may stand in them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from service.adapters.tokens import issue
from tests.issuer import ED25519, P256, RSA, SigningKey, key_set
from tests.nodes import Ground, Message, NodeProcess, WireClient, new_ground, output
from tests.service_process import SECRET
from tests.waiting import until

PUBLISHED = [RSA, P256]
ELSEWHERE = {"X-Forwarded-For": "203.0.113.7"}
_secrets: list[str] = []
"""Every token and ticket that a node was given, good or bad."""


def token(user: str, *, ttl: int = 3600, **more: Any) -> str:
    """An HS256 token, remembered."""
    made = issue(
        more.pop("secret", SECRET),
        user,
        more.pop("role", ""),
        [],
        more.pop("scopes", []),
        ttl,
        int(time.time()),
        **more,
    )
    _secrets.append(made)
    return made


def signed(key: SigningKey, user: str, **more: Any) -> str:
    """A token of the issuer's, remembered."""
    made = key.token(user, **more)
    _secrets.append(made)
    return made


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[str]:
    """The address of the keys PUBLISHED."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = key_set(*PUBLISHED)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    server.close()


@pytest.fixture(scope="module")
async def nodes(kafka: str, postgres_url: str, issuer: str) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    settings = {
        "jwks_url": issuer,
        "jwks_refresh_seconds": 1,
        "log_level": "debug",
        "trusted_proxies": "127.0.0.1",
        "allowed_origins": "https://app.example",
        "allowed_hosts": "node.example",
        "max_connections_per_user": 3,
        "max_connections_per_address": 5,
        "messages_per_second_per_user": 5,
        "max_subscriptions_per_user": 10,
        "failures_per_second_per_address": 0.5,
        "max_tickets_per_user": 4,
        "tickets_per_second": 0.5,
    }
    async with new_ground(kafka, postgres_url) as ground, both(ground, settings) as nodes:
        yield nodes
        assert " DEBUG " in nodes[0].said
        for node in nodes:
            for secret in _secrets:
                assert secret.rpartition(".")[2] not in node.said, "a token's signature, or a ticket, is in the log"
            assert "eyJ" not in node.said
            assert "Traceback" not in node.said
    assert len(_secrets) > 30


@asynccontextmanager
async def both(ground: Ground, settings: dict[str, object]) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    """Two of them on the same servers."""
    async with ground.node("node-1", **settings) as one, ground.node("node-2", **settings) as other:
        yield one, other


@pytest.fixture(scope="module")
def node(nodes: tuple[NodeProcess, NodeProcess]) -> NodeProcess:
    return nodes[0]


async def hello(client: WireClient) -> Message:
    async with client:
        return await client.hear("connection_established")


async def refusal(client: WireClient) -> tuple[int | None, str | None]:
    async with client:
        return await client.end()


async def buy(node: NodeProcess, access: str | None, **headers: str) -> httpx.Response:
    """`POST /api/v1/websocket/ticket`; the ticket is remembered."""
    if access is not None:
        headers["Authorization"] = f"Bearer {access}"
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(f"{node.url}/api/v1/websocket/ticket", headers=headers)
    if response.status_code == 200:
        _secrets.append(response.json()["ticket"])
    return response


@pytest.mark.parametrize("key", [None, *PUBLISHED], ids=["secret", "RS256", "ES256"])
async def test_each_source_each_way(node: NodeProcess, key: SigningKey | None) -> None:
    user = f"each-{key.id if key else 'secret'}"
    access = token(user) if key is None else signed(key, user)
    for client in (
        node.client(access),
        node.client(None, headers={"Authorization": f"Bearer {access}"}),
        node.client(None, token=access),
        node.client(None, ticket=(await buy(node, access)).json()["ticket"]),
    ):
        assert (await hello(client))["user_id"] == user
    response = await node.post(output("t", 1), access)
    assert response.status_code == 403, "known, and without the scope"


async def test_the_preferred_one_decides(node: NodeProcess) -> None:
    ann, bob, bad = token("ann-first"), token("bob-first"), token("ann-first", secret="x" * 32)
    ticket = (await buy(node, ann)).json()["ticket"]
    client = node.client(bob, headers={"Authorization": f"Bearer {bob}"}, token=bob, ticket=ticket)
    assert (await hello(client))["user_id"] == "ann-first"
    for client in (
        node.client(bob, ticket=ticket),
        node.client(bad, headers={"Authorization": f"Bearer {bob}"}),
        node.client(None, headers={"Authorization": f"Bearer {bad}"}, token=bob),
        node.client(None, token=bad),
    ):
        assert await refusal(client) == (1008, "Invalid token"), "and no other is tried"
    for client in (
        node.client(None, headers={"Cookie": f"token={ann}"}),
        node.client(bob, ticket=""),
    ):
        assert await refusal(client) == (1008, "Authentication required")


async def test_tokens_that_are_not_accepted(node: NodeProcess) -> None:
    good = token("ann")
    stranger = SigningKey.make("RS256", RSA.id)
    for bad in (
        token("ann", ttl=-60),
        token("ann", secret="y" * 32),
        token("a b"),
        good[:-3],
        good + "x",
        good.replace(".", "", 1),
        "x" * 7900,
        signed(stranger, "ann"),
        signed(RSA, "ann", headers={"kid": "unknown"}),
        signed(ED25519, "ann"),
    ):
        _secrets.append(bad)
        assert await refusal(node.client(None, token=bad)) == (1008, "Invalid token")
        response = await node.post(output("t", 1), bad)
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert bad.rpartition(".")[2] not in response.text


async def test_a_token_too_long_for_an_address_is_answered(node: NodeProcess) -> None:
    with pytest.raises(InvalidStatus) as error:
        await hello(node.client(None, token="x" * 9000))
    assert error.value.response.status_code == 414
    with pytest.raises(InvalidStatus) as error:
        await hello(node.client("x" * 9000))
    assert error.value.response.status_code == 431


async def test_a_new_key_of_the_issuer_needs_no_restart(node: NodeProcess) -> None:
    access = signed(ED25519, "rotated")
    PUBLISHED.append(ED25519)
    try:

        async def gets_in() -> bool:
            async with node.client(access) as client:
                return await opens(client)

        await until(gets_in, what="the new key")
    finally:
        PUBLISHED.remove(ED25519)


async def opens(client: WireClient) -> bool:
    """Whether the server says something else than goodbye."""
    try:
        await client.next()
    except ConnectionClosed:
        return False
    return True


async def test_a_ticket_is_good_once_on_any_node(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    one, other = nodes
    access = token("ticketed", ttl=300)
    response = await buy(one, access)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.json().keys() == {"ticket", "expires_at"}
    assert response.json()["expires_at"].endswith("Z")
    ticket = response.json()["ticket"]
    assert (await hello(other.client(None, ticket=ticket)))["user_id"] == "ticketed"
    for node in nodes:
        assert await refusal(node.client(None, ticket=ticket)) == (1008, "Invalid token")
    for nonsense in ("x", "x" * 8000, "\x00", "%"):
        assert await refusal(one.client(None, ticket=nonsense)) == (1008, "Invalid token")


async def test_tickets_need_a_token_and_are_limited(node: NodeProcess) -> None:
    assert (await buy(node, None)).status_code == 401
    assert (await buy(node, token("x", ttl=-60))).status_code == 401
    access = token("buyer")
    answers = [await buy(node, access) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert "buyer are neither spent nor expired" in answers[4].json()["detail"]
    assert answers[5].json()["code"] == "too_many"
    assert 1 <= int(answers[4].headers["retry-after"]) <= 30


async def test_a_user_has_so_many_connections(node: NodeProcess) -> None:
    access = token("busy")
    async with node.client(access) as first, node.client(access) as second:
        for client in (first, second):
            await client.hear("connection_established")
        async with node.client(access) as third:
            await third.hear("connection_established")
            assert await refusal(node.client(access)) == (4429, "Too many connections of this user")

        async def has_room() -> bool:
            async with node.client(access) as again:
                return await opens(again)

        await until(has_room, what="room for another connection")


async def test_an_address_has_so_many_connections(node: NodeProcess) -> None:
    there = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    clients = [node.client(token(f"there-{number}"), headers=there) for number in range(5)]
    for client in clients:
        await client.__aenter__()
        await client.hear("connection_established")
    try:
        more = node.client(token("there-6"), headers=there)
        assert await refusal(more) == (4429, "Too many connections from this address")
        # What is left of the proxy's own entry is the client's invention.
        spoofed = node.client(token("there-7"), headers={"X-Forwarded-For": "192.0.2.1, 203.0.113.9"})
        assert await refusal(spoofed) == (4429, "Too many connections from this address")
        assert await hello(node.client(token("there-8"), headers={"X-Forwarded-For": "203.0.113.10"}))
        assert await hello(node.client(token("there-9")))
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)


async def test_a_user_sends_so_many_messages(node: NodeProcess) -> None:
    async with node.client(token("chatty")) as client:
        await client.hear("connection_established")
        for _ in range(70):
            await client.send({"type": "ping"})
        assert await client.end() == (4429, "Too many messages")
        answered = [message for message in client.heard if message["type"] == "pong"]
    assert 50 <= len(answered) < 70
    async with node.client(token("chatty")) as client:
        await client.hear("connection_established")
        for _ in range(40):
            await client.send({"type": "pong"})
        assert await client.end() == (4429, "Too many messages"), "coming back is no way out"


async def test_a_user_has_so_many_subscriptions_over_all_connections(node: NodeProcess) -> None:
    access = token("subscribed", role="admin")
    async with node.client(access) as first, node.client(access) as second:
        for client in (first, second):
            await client.hear("connection_established")
        await first.send({"type": "subscribe", "channels": [f"task:{number}" for number in range(4)]})
        await first.quiet()
        await second.send({"type": "subscribe", "channels": [f"task:{number}" for number in range(4)], "ref": 1})
        await second.quiet()
        taken = [message for message in second.heard if message["type"] == "subscription_result"]
        refused = [message for message in second.heard if message.get("code") == "too_many_subscriptions"]
        assert (len(taken), len(refused)) == (2, 2), "two of each connection are automatic"
        assert all("over all connections" in one["message"] and one["ref"] == 1 for one in refused)
        await first.send({"type": "unsubscribe", "channel": "task:0"})
        await first.quiet()
        assert (await second.subscribe("task:3"))["subscribed"]


async def test_failures_close_the_door_for_their_address(node: NodeProcess) -> None:
    bad = token("ann", secret="z" * 32)
    answers = [(await node_post(node, bad)).status_code for _ in range(8)]
    assert answers == [401] * 5 + [429] * 3
    good = token("patient")
    refused = await node_post(node, good)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
    assert int(refused.headers["retry-after"]) >= 1
    assert await refusal(node.client(good, headers=ELSEWHERE)) == (4429, "Too many failed attempts")
    assert (await hello(node.client(good)))["user_id"] == "patient"


async def node_post(node: NodeProcess, access: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(
            f"{node.url}/api/v1/events", headers={"Authorization": f"Bearer {access}", **ELSEWHERE}, content=b"{}"
        )


async def test_pages_of_other_origins(node: NodeProcess) -> None:
    access = token("page")
    assert await hello(node.client(access, headers={"Origin": "https://app.example"}))
    for origin in ("https://evil.example", "null", "http://app.example"):
        assert await refusal(node.client(access, headers={"Origin": origin})) == (1008, "Origin not allowed")


async def test_names_that_point_here(node: NodeProcess) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def ask(host: str, path: str = "/api/v1/events", **headers: str) -> httpx.Response:
            return await http.get(f"{node.url}{path}", headers={"Host": host, **headers})

        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
            refused = await ask(host)
            assert (refused.status_code, refused.json()["code"]) == (421, "misdirected_request")
            assert (await ask(host, "/healthz")).status_code == 200
            upgrade = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            }
            refused = await ask(host, f"/ws?token={token('rebound')}", **upgrade)
            assert refused.status_code == 421
        assert "handshake" not in node.said
        for host in ("localhost", "[::1]:9", "node.example:443"):
            assert (await ask(host)).status_code != 421


async def test_a_token_in_an_error_stays_out_of_the_log(node: NodeProcess) -> None:
    """In messages, in an event's data, where no token belongs."""
    access = token("careless", role="admin")
    async with node.client(access) as client:
        await client.hear("connection_established")
        for message in (
            {"type": access},
            {"type": "authenticate", "token": access},
            {"type": "authenticate", "token": token("careless", secret="q" * 32)},
            {"type": "subscribe", "channel": access},
            {"type": "subscribe", "channel": "broadcast", "after": access},
            access,
            access.encode(),
        ):
            await client.ask(message)
        await client.quiet()
    assert await refusal(node.client(access, after=access)) == (1008, "Invalid position")
    assert await refusal(node.client(access, project_id=access)) != (1011, "Internal server error")
    assert (await node.post({"type": access}, access)).status_code == 422
    assert (await node.post(access.encode(), access)).status_code == 400
    async with httpx.AsyncClient(trust_env=False) as http:
        for address in (f"{node.url}/nowhere?token={access}", f"{node.url}/ws?token={access}", f"{node.url}/{access}"):
            assert (await http.get(address)).status_code in (404, 426)
