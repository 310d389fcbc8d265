"""While it can't be known who somebody is, nobody is refused for good: neither over HTTP nor over WebSocket.

Nobody listens at the addresses of the issuer and of the database.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from service.adapters.tokens import issue
from service.domain.errors import Denied, LastseenError
from service.embedded.free_ports import choose
from service.main import open_door
from service.settings import Settings
from service.web import problems, socket, tickets
from service.web.server import create_server
from tests.issuer import RSA
from tests.service_process import SECRET
from tests.waiting import until


def settings(**more: object) -> Settings:
    nobody, nobody_either = choose(2)
    return Settings.model_validate(
        {
            "jwks_url": f"http://127.0.0.1:{nobody}/keys",
            "database_url": f"postgresql://127.0.0.1:{nobody_either}/none",
            **more,
        }
    )


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """The routes that need no node before somebody is known, behind a real door."""

    async def drained() -> None:
        return

    app = FastAPI()
    app.state.node = None
    problems.install(app)
    app.include_router(tickets.router)
    app.include_router(socket.router)
    (port,) = choose(1)
    async with open_door(settings(jwt_secret=SECRET)) as app.state.door:
        server = create_server(app, "127.0.0.1", port, max_message_bytes=65_536, drain=drained)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started, what="the server listens")
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        await serving


def shared(user: str = "ann") -> str:
    return issue(SECRET, user, "", [], [], 3600, int(time.time()))


@pytest.mark.parametrize(
    ("token", "said"),
    [(RSA.token("ann"), "the issuer's keys can't be had now"), (shared(), "tickets can't be had now")],
)
async def test_over_http(url: str, token: str, said: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(f"{url}/api/v1/websocket/ticket", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 503
    assert said in response.json()["detail"]
    assert response.json()["code"] == "unavailable"
    assert 1 <= int(response.headers["retry-after"]) <= 10


@pytest.mark.parametrize("query", [f"token={RSA.token('ann')}", "ticket=some-ticket"])
async def test_over_websocket(url: str, query: str) -> None:
    async with connect(f"{url.replace('http', 'ws')}/ws?{query}", proxy=None) as websocket:
        with pytest.raises(ConnectionClosed):
            await websocket.recv()
    assert (websocket.close_code, websocket.close_reason) == (1013, "Identity not known now")


async def test_without_the_secret_its_algorithm_is_refused() -> None:
    async with open_door(settings()) as door:
        with pytest.raises(Denied, match="none of those accepted here: ES256, EdDSA, RS256"):
            await door.authenticator.identify(shared())


async def test_a_node_needs_something_to_verify_with() -> None:
    with pytest.raises(LastseenError, match="neither LASTSEEN_JWT_SECRET nor LASTSEEN_JWKS_URL is set"):
        async with open_door(settings(jwks_url=None)):
            raise AssertionError("unreachable")
    with pytest.raises(LastseenError, match="at least 32"):
        async with open_door(settings(jwt_secret="short")):
            raise AssertionError("unreachable")
