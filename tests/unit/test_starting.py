"""The client's start of a task: asked again while the service is away, by one id, and ended by what will not pass."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from lastseen.client import Client
from lastseen.errors import AccessDenied, AuthenticationFailed, BadRequest, LastseenError, NoRunner, ProtocolError
from lastseen.starting import StartedTask

STARTED = {"task_id": "t", "id": "s", "state": "applied", "position": "e:0=1"}
Answer = httpx.Response | httpx.TransportError


def problem(status: int, code: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"detail": f"because of {code}", "code": code, **more})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Answers the client in turn; gives the bodies that it was sent."""

    def answering(*answers: Answer) -> list[dict[str, Any]]:
        bodies: list[dict[str, Any]] = []
        left = iter(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            assert (request.method, request.url.path) == ("POST", "/api/v1/tasks")
            bodies.append(json.loads(request.content))
            if isinstance(said := next(left), httpx.TransportError):
                raise said
            return said

        monkeypatch.setattr(
            "lastseen.starting.httpx.AsyncClient", partial(httpx.AsyncClient, transport=httpx.MockTransport(answer))
        )
        return bodies

    return answering


async def start(**more: Any) -> StartedTask:
    return await Client("http://127.0.0.1:1", "token").start("shop", ["make"], **more)


async def test_a_service_that_is_away_is_asked_again_with_the_same_id(
    service: Callable[..., list[dict[str, Any]]],
) -> None:
    told: list[str] = []
    away = (httpx.ConnectError("refused"), problem(503, "unavailable"), problem(503, "too_many_commands"))
    bodies = service(*away, httpx.Response(202, json=STARTED))
    started = await start(pty=(100, 30), on_retry=lambda reason, _: told.append(reason))
    assert started == StartedTask("t", "s", "applied", "e:0=1")
    assert len(bodies) == 4
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["id"]
    assert (bodies[0]["pty"], bodies[0]["columns"], bodies[0]["rows"]) == (True, 100, 30)
    assert told == ["refused", "HTTP 503: because of unavailable", "HTTP 503: because of too_many_commands"]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (problem(401, "unauthorized"), AuthenticationFailed, "because of unauthorized"),
        (problem(403, "not_allowed"), AccessDenied, "because of not_allowed"),
        (problem(409, "id_in_use"), BadRequest, "because of id_in_use"),
        (
            problem(422, "invalid_request", errors=[{"field": "cwd", "detail": "is wrong", "code": "x"}]),
            BadRequest,
            "cwd: is wrong",
        ),
        (httpx.Response(202, json={"task_id": "t"}), ProtocolError, "has no 'id'"),
        (httpx.Response(202, text="<html>"), ProtocolError, "has no 'task_id'"),
    ],
)
async def test_what_will_not_pass_is_raised(
    service: Callable[..., list[dict[str, Any]]], answer: Answer, error: type[LastseenError], said: str
) -> None:
    service(answer)
    with pytest.raises(error, match=said):
        await start()


async def test_no_runner_names_what_to_start_again(service: Callable[..., list[dict[str, Any]]]) -> None:
    service(problem(503, "no_runner", task_id="t", id="s"))
    with pytest.raises(NoRunner, match="because of no_runner") as raised:
        await start()
    assert (raised.value.task, raised.value.id) == ("t", "s")
