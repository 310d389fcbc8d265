"""The console as a node serves it, and signing in to it."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import jwt
import pytest

from tests.nodes import ADMIN, Ground, NodeProcess, new_ground, token


def signs_in() -> str:
    """A token for codes, which ends soon."""
    return token("ann", role="admin", scopes=["publish", "console"], ttl=60)


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def nodes(ground: Ground) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    async with ground.node("node-1") as one, ground.node("node-2", jwt_audience="console") as other:
        yield one, other
        for node in (one, other):
            assert "Traceback" not in node.said


async def ask(node: NodeProcess, path: str, access: str | None = None, body: object = None) -> httpx.Response:
    """`POST /api/v1/console/PATH`."""
    headers = {} if access is None else {"Authorization": f"Bearer {access}"}
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(f"{node.url}/api/v1/console/{path}", headers=headers, json=body)


async def test_the_pages_are_there(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=nodes[0].url) as http:
        page = await http.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        script = page.text.partition('src="')[2].partition('"')[0]
        assert script.startswith("/assets/")
        answer = await http.get(script)
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
        assert "immutable" in answer.headers["cache-control"]
        assert (await http.head(script)).headers["content-length"] == answer.headers["content-length"]
        assert (await http.get("/tasks/x", headers={"Accept": "text/html"})).text == page.text
        assert (await http.get("/api/v1/nothing", headers={"Accept": "text/html"})).status_code == 404


async def test_a_code_signs_in_once(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    node = nodes[0]
    made = await ask(node, "codes", signs_in())
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    code = {"code": made.json()["code"]}
    answers = await asyncio.gather(*(ask(node, "session", body=code) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    refused = next(answer for answer in answers if answer.status_code == 401)
    assert "no such code, or it has been spent" in refused.json()["detail"]
    assert code["code"] not in refused.text
    (session,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (session["user"], session["role"]) == ("ann", "admin")
    claims = jwt.decode(session["token"], options={"verify_signature": False})
    assert set(claims["scope"].split()) == {"publish", "console"}
    assert claims["exp"] - time.time() > 3600, "the session outlives the token that asked for the code"
    stats = httpx.Headers({"Authorization": f"Bearer {session['token']}"})
    async with httpx.AsyncClient(trust_env=False, headers=stats) as http:
        assert (await http.get(f"{node.url}/api/v1/websocket/stats")).status_code == 200
    renewed = await ask(node, "renew", session["token"])
    assert renewed.status_code == 200
    assert renewed.json()["user"] == "ann"


async def test_a_session_is_for_the_audience_that_its_nodes_expect(nodes: tuple[NodeProcess, NodeProcess]) -> None:
    code = {"code": (await ask(nodes[0], "codes", signs_in())).json()["code"]}
    session = (await ask(nodes[1], "session", body=code)).json()
    assert (await ask(nodes[1], "renew", session["token"])).status_code == 200


@pytest.mark.parametrize("call", ["codes", "renew"])
async def test_a_token_lasts_no_longer_than_its_issuer_means_it_to(
    nodes: tuple[NodeProcess, NodeProcess], call: str
) -> None:
    answer = await ask(nodes[0], call, ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "scope console" in answer.json()["detail"]
    assert (await ask(nodes[0], call)).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"), [({}, 422), ({"code": ""}, 422), ({"code": 1}, 422), ({"code": "x", "y": 1}, 422), ([], 422)]
)
async def test_what_is_no_code(nodes: tuple[NodeProcess, NodeProcess], body: object, status: int) -> None:
    answer = await ask(nodes[0], "session", body=body)
    assert (answer.status_code, answer.json()["code"]) == (status, "invalid_request")
