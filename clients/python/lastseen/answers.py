"""What the service's HTTP answers mean to a client."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx
from pydantic_core import from_json

from lastseen.errors import AccessDenied, AuthenticationFailed, BadRequest, LastseenError, ProtocolError, Rejected

_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands in the log; `duplicate`: it was there already, from an earlier attempt."""

    id: str
    partition: int
    offset: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """The same again may succeed, `after` so many seconds where the service named them."""

    reason: str
    after: float | None


def judge(response: httpx.Response) -> Retry | Rejected | None:
    """None where it is taken; else whether to try again, or the error that it is."""
    status = response.status_code
    if status == HTTPStatus.ACCEPTED:
        return None
    problem = _problem(response)
    text = str(problem.get("detail") or problem.get("title") or response.text[:300] or response.reason_phrase)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        return Retry(f"HTTP {status}: {text}", _seconds(response.headers.get("Retry-After")))
    code, field = problem.get("code"), problem.get("field")
    errors = problem.get("errors")
    if isinstance(errors, list) and len(errors) == 1 and isinstance(errors[0], dict):
        text, code, field = str(errors[0].get("detail", text)), errors[0].get("code", code), errors[0].get("field")
    if status == HTTPStatus.UNAUTHORIZED:
        return AuthenticationFailed(text, code=code or status)
    if status == HTTPStatus.FORBIDDEN:
        return AccessDenied(text, code=code or status)
    return BadRequest(text, code=code, status=status, field=field)


def places_of(body: bytes) -> list[Place | LastseenError]:
    """The answers of an array, in its order: a place each, or why that event was refused."""
    try:
        return [_place(entry) for entry in from_json(body)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"the service's answer {body[:200]!r} is not understood") from error


def _place(entry: dict[str, Any]) -> Place | LastseenError:
    if (error := entry.get("error")) is not None:
        return BadRequest(str(error["detail"]), code=error.get("code"), status=422, field=error.get("field"))
    return Place(entry["id"], entry["partition"], entry["offset"], entry["duplicate"])


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = from_json(response.content)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None  # a date: our own back-off is as good
