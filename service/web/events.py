"""`POST /api/v1/events`: producers append events."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from lastseen.envelope import Event
from lastseen.field_errors import FieldError, field_errors
from pydantic import ValidationError

from service.domain.errors import BadRequest, LogUnavailable
from service.domain.identity import Identity
from service.node.node import Node
from service.node.publishing import Published
from service.web.bodies import read_json
from service.web.documented import documented
from service.web.identified import identify
from service.web.problems import Problem, unavailable

MAX_EVENTS = 1000
_STATUS_OF = {"forbidden": 403, "conflict": 409}

router = APIRouter(prefix="/api/v1")

_DESCRIPTION = """One event, or an array of up to 1,000, each judged by itself.

The answer to one event is its place; to an array, a list in the same order: places, and for an event that was
refused `{"index", "error": {"field", "detail", "code"}}`. If every event was refused, the answer is the error.
Give each event an `id` of your own: a retry with the same id is recognised."""


_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {"$ref": "#/components/schemas/Event"},
                    {
                        "type": "array",
                        "items": {"$ref": "#/components/schemas/Event"},
                        "minItems": 1,
                        "maxItems": MAX_EVENTS,
                    },
                ]
            },
            "example": {"type": "task_progress_update", "task_id": "build", "data": {"percent": 40}},
        }
    },
}


_PLACE = {
    "type": "object",
    "title": "Place",
    "required": ["id", "partition", "offset", "duplicate"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "partition": {"type": "integer", "minimum": 0},
        "offset": {"type": "integer", "minimum": 0},
        "duplicate": {"type": "boolean", "description": "Known already: the place is that of the first."},
    },
}
_REFUSAL = {
    "type": "object",
    "title": "Refusal",
    "required": ["index", "error"],
    "additionalProperties": False,
    "properties": {
        "index": {"type": "integer", "minimum": 0},
        "error": {"$ref": "#/components/schemas/Problem/properties/errors/items"},
    },
}
_ANSWER = {"anyOf": [_PLACE, {"type": "array", "items": {"anyOf": [_PLACE, _REFUSAL]}}]}


@router.post(
    "/events",
    description=_DESCRIPTION,
    summary="Append events",
    **documented(
        *(400, 403, 409, 413, 422, 503),
        status=202,
        description="The log has them",
        schema=_ANSWER,
        example={"id": "6f1c0e", "partition": 1, "offset": 88, "duplicate": False},
        body=_REQUEST_BODY,
    ),
)
async def append_events(request: Request) -> JSONResponse:
    """Append one event or an array of them; answered once Kafka has them."""
    node: Node = request.app.state.node
    identity = await identify(request)
    if not identity.may_publish:
        raise Problem(403, "publishing needs a token with the scope publish, or the role admin", code="forbidden")
    given = await read_json(request, node.services.settings.max_body_bytes)
    items: list[Any] = given if isinstance(given, list) else [given]
    if not 0 < len(items) <= MAX_EVENTS:
        raise Problem(
            422,
            f"an array holds 1 to {MAX_EVENTS} events, this one {len(items)}",
            code="invalid_event",
            errors=[FieldError("", f"1 to {MAX_EVENTS} events", "array_size")],
        )
    answers = await _publish(node, identity, items)
    refused = [answer for answer in answers if isinstance(answer, list)]
    if len(refused) == len(answers):
        errors = [error for answer in refused for error in answer]
        statuses = {_STATUS_OF.get(error.code, 422) for error in errors}
        detail = "; ".join(f"{error.field or 'event'}: {error.detail}" for error in errors[:3])
        raise Problem(
            statuses.pop() if len(statuses) == 1 else 422, detail, code=errors[0].code, errors=errors[:MAX_EVENTS]
        )
    if isinstance(given, list):
        return JSONResponse([_item(index, answer) for index, answer in enumerate(answers)], 202)
    return JSONResponse(_item(0, answers[0]), 202)


async def _publish(node: Node, identity: Identity, items: Sequence[Any]) -> list[Published | list[FieldError]]:
    answers: list[Published | list[FieldError] | None] = []
    events: list[Event] = []
    for item in items:
        try:
            events.append(Event.model_validate(item))
            answers.append(None)
        except ValidationError as error:
            answers.append(field_errors(error))
    try:
        published = iter(await node.publisher.publish(identity, events))
    except LogUnavailable as error:
        raise unavailable(error, "the log does not answer, nothing was acknowledged: ") from error
    return [answer if answer is not None else _answer(next(published)) for answer in answers]


def _answer(answer: Published | BadRequest) -> Published | list[FieldError]:
    if isinstance(answer, Published):
        return answer
    return [FieldError(answer.field or "", str(answer), answer.code)]


def _item(index: int, answer: Published | list[FieldError]) -> dict[str, object]:
    if isinstance(answer, list):
        return {"index": index, "error": answer[0]._asdict()}
    return {
        "id": answer.id,
        "partition": answer.place.partition,
        "offset": answer.place.offset,
        "duplicate": answer.duplicate,
    }
