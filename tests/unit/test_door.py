"""Who is let in: what counts of what was given, which pages, and by which names a node is called."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.datastructures import Address, Headers, QueryParams
from starlette.types import Message, Receive, Scope, Send

from service.adapters.clock import SystemClock
from service.adapters.memory_tickets import MemoryTickets
from service.adapters.tokens import issue
from service.adapters.tokens.authenticator import TokenAuthenticator
from service.adapters.tokens.claims import Expected
from service.domain.errors import Denied, TooMany
from service.domain.limits import Allowed, Guest, Limits
from service.web.credentials import Given, given
from service.web.door import Door
from service.web.hosts import HostCheck

SECRET = "s" * 32


@pytest.mark.parametrize(
    ("subprotocols", "authorization", "query", "counts"),
    [
        (["lastseen.v1", "bearer.A"], "Bearer B", "token=C&ticket=D", Given(True, "D")),
        (["lastseen.v1", "bearer.A"], "Bearer B", "token=C", Given(False, "A")),
        (["lastseen.v1"], "Bearer B", "token=C", Given(False, "B")),
        ([], "bEARER  B ", "token=C", Given(False, "B")),
        ([], "Basic dTpw", "token=C", Given(False, "C")),
        ([], None, "token=C", Given(False, "C")),
        ([], None, "", None),
        ([], "Basic dTpw", "", None),
        (["bearer.A"], None, "ticket=", Given(True, "")),
        (["bearer."], "Bearer B", "", Given(False, "")),
        ([], "Bearer", "token=C", Given(False, "")),
    ],
)
def test_what_counts(subprotocols: list[str], authorization: str | None, query: str, counts: Given | None) -> None:
    headers = Headers({"cookie": "token=X; ticket=Y"} | ({"authorization": authorization} if authorization else {}))
    assert given(subprotocols, headers, QueryParams(query)) == counts


def door(*origins: str, **allowed: Any) -> Door:
    return Door(
        TokenAuthenticator(SECRET, None, Expected()),
        MemoryTickets(SystemClock(), seconds=30, most=3),
        Limits(Allowed(**allowed)),
        frozenset(origins),
    )


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        (["https://app.example"], True),
        (["https://APP.example"], True),
        ([], True),
        (["https://evil.example"], False),
        (["https://app.example.evil"], False),
        (["http://app.example"], False),
        (["https://app.example:8443"], False),
        (["null"], False),
        ([""], False),
        (["https://app.example", "https://evil.example"], False),
    ],
)
def test_pages(origin: list[str], passes: bool) -> None:
    headers = Headers(raw=[(b"origin", one.encode()) for one in origin])
    assert door("https://app.example").lets_page(headers) is passes
    assert door().lets_page(headers) is True


async def test_failures_close_the_door_for_their_address_alone() -> None:
    closing = door(failures_per_address=0.1)
    good = Given(False, issue(SECRET, "ann", "", [], [], 60, SystemClock().now_ms() // 1000))
    there, elsewhere, here = Address("203.0.113.7", 1), Address("203.0.113.8", 1), Address("127.0.0.1", 1)
    with pytest.raises(Denied):
        await closing.identify(Given(False, "nonsense"), there)
    with pytest.raises(TooMany, match="Too many failed attempts") as error:
        await closing.identify(good, there)
    assert 0 < error.value.retry_after <= 10
    assert (await closing.identify(good, elsewhere)).user_id == "ann"
    for _ in range(5):
        with pytest.raises(Denied):
            await closing.identify(Given(True, "nonsense"), here)
        with pytest.raises(Denied):
            await closing.identify(None, elsewhere)
    assert (await closing.identify(good, here)).user_id == "ann"
    assert (await closing.identify(good, elsewhere)).user_id == "ann", "who gives nothing has not failed"
    assert isinstance(closing.enter(await closing.identify(good, None), None), Guest)


@dataclass
class Spoken:
    """What an ASGI application sent, and whether the request got through."""

    sent: list[Message] = field(default_factory=list)
    passed: bool = False

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed = True

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError


async def ask(*hosts: str, allowed: tuple[str, ...] = (), kind: str = "http", path: str = "/ws") -> Spoken:
    spoken = Spoken()
    scope: Scope = {"type": kind, "path": path, "headers": [(b"host", host.encode("latin-1")) for host in hosts]}
    if kind == "websocket":
        scope["extensions"] = {"websocket.http.response": {}}
    await HostCheck(spoken.application, allowed)(scope, spoken.receive, spoken.send)
    return spoken


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST.", "[::1]", "[::1]:8080", "console.localhost:80"]
)
async def test_loopback_is_called_by_its_names(host: str) -> None:
    assert (await ask(host)).passed


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["evil.example:8080"],
        ["127.0.0.1.evil.example"],
        ["localhost.evil.example"],
        ["127.0.0.1@evil.example"],
        ["evil.example:127.0.0.1"],
        ["10.0.0.1"],
        [""],
        [":80"],
        ["é"],
        [],
        ["127.0.0.1", "evil.example"],
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_any_other_name_is_refused(hosts: list[str], kind: str) -> None:
    spoken = await ask(*hosts, kind=kind)
    assert not spoken.passed
    prefix = "http.response" if kind == "http" else "websocket.http.response"
    assert spoken.sent[0]["type"] == f"{prefix}.start"
    assert spoken.sent[0]["status"] == 421
    assert b'"misdirected_request"' in spoken.sent[1]["body"]
    assert (await ask(*hosts, path="/healthz")).passed, "a probe uses what address it has"


async def test_names_that_are_allowed() -> None:
    allowed = ("node.example", "2001:db8::1")
    for host in ("node.example", "NODE.example:443", "node.example.", "[2001:DB8:0::1]:80", "127.0.0.1"):
        assert (await ask(host, allowed=allowed)).passed, host
    for host in ("other.node.example", "node.example.org", "[2001:db8::2]"):
        assert not (await ask(host, allowed=allowed)).passed, host
