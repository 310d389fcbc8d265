"""Asking for a program to be started as a task: again and again while the service is away, and started once."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
from pydantic_core import from_json

from lastseen.answers import Retry, judge
from lastseen.backoff import Backoff
from lastseen.connection import is_loopback, websocket_url
from lastseen.errors import BadRequest, NoRunner, ProtocolError
from lastseen.renewal import Token

_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
"""A node answers when a runner has, or when the start's deadline has passed."""


@dataclass(frozen=True, slots=True)
class StartedTask:
    """A task that a runner has begun. Subscribed to `after` its position, its channel has all of it.

    `state` is `applied`, or `unknown` where the task has begun and what became of the start is not known.
    """

    task: str
    id: str
    """The start's: sent again with it, it is not started twice."""
    state: str
    position: str


async def start_task(
    url: str, token: Token, body: Mapping[str, Any], on_retry: Callable[[str, float], None] | None = None
) -> StartedTask:
    """`POST /api/v1/tasks`; the body has an `id`, so that whatever is asked again is the same start.

    Raises AccessDenied (also where no runner may start that: `code` says why), AuthenticationFailed, BadRequest (`code`
    `task_id_in_use` where there is such a task), NoRunner and ProtocolError.
    """
    websocket_url(url, {})  # an address that can't work is told at once
    address = f"{url.rstrip('/')}/api/v1/tasks"
    backoff = Backoff(base=0.1, cap=5.0)
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=not is_loopback(url)) as http:
        while True:
            given = token if isinstance(token, str) else await token()
            try:
                response = await http.post(address, json=body, headers={"Authorization": f"Bearer {given}"})
            except httpx.TransportError as error:
                verdict = Retry(str(error) or type(error).__name__, None)
            else:
                if response.status_code == HTTPStatus.ACCEPTED:
                    return _read(response)
                verdict = _verdict(response)
            delay = max(backoff.next(), verdict.after or 0.0)
            if on_retry is not None:
                on_retry(verdict.reason, delay)
            await asyncio.sleep(delay)


def _verdict(response: httpx.Response) -> Retry:
    """Whether the same may be asked again. Raises what the answer is else."""
    judged = judge(response)
    if isinstance(judged, Retry):
        problem = _object(response)
        if problem.get("code") == "no_runner":
            raise NoRunner(str(problem.get("detail")), task=str(problem.get("task_id")), id=str(problem.get("id")))
        return judged
    if isinstance(judged, BadRequest) and judged.field and judged.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise BadRequest(f"{judged.field}: {judged}", code=judged.code, status=judged.status, field=judged.field)
    raise judged or ProtocolError(f"the service answered HTTP {response.status_code} to a start")


def _read(response: httpx.Response) -> StartedTask:
    answer = _object(response)
    try:
        return StartedTask(*(str(answer[name]) for name in ("task_id", "id", "state", "position")))
    except KeyError as error:
        raise ProtocolError(f"the service's answer {response.content[:200]!r} to a start has no {error}") from error


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = from_json(response.content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
