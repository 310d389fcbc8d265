"""`POST /api/v1/websocket/send-to-user` and `…/send-to-channel`: a message to whoever is, or will be, there."""

import asyncio
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Request
from lastseen.channels import ID_PATTERN
from lastseen.field_errors import FieldError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from service.domain.errors import BadRequest, LogUnavailable, Unavailable
from service.domain.identity import Identity
from service.domain.presence_counts import Total
from service.domain.presence_records import About
from service.domain.sending import event_for
from service.node.node import Node
from service.node.publishing import Published
from service.web.bodies import read_json
from service.web.documented import documented
from service.web.identified import identify
from service.web.problems import Problem, unavailable

router = APIRouter(prefix="/api/v1/websocket")

_ROOM: Final = 16 * 1024
"""Bytes of a body besides the event's own."""
_STATUS_OF: Final = {"forbidden": 403, "conflict": 409}
_Id = Annotated[str, Field(pattern=ID_PATTERN)]
_Message = Annotated[
    dict[str, Any],
    Field(description="An event as of `POST /events`: `type`, `data`, …; what the channel says may be left out."),
]


class ToUser(BaseModel):
    """The body of `send-to-user`."""

    model_config = ConfigDict(extra="forbid")

    user_id: _Id
    message: _Message
    exclude_connection_id: Annotated[
        _Id | None, Field(description="A connection that does not get it live, such as the one that it came from.")
    ] = None


class ToChannel(BaseModel):
    """The body of `send-to-channel`."""

    model_config = ConfigDict(extra="forbid")

    channel: str
    message: _Message


B = TypeVar("B", ToUser, ToChannel)

_COUNTS: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "partition": {"type": "integer", "minimum": 0},
    "offset": {"type": "integer", "minimum": 0},
    "duplicate": {"type": "boolean", "description": "Known already: the place is that of the first."},
    "connections": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "How many, over all nodes, are subscribed now. Null while the other nodes can't be asked.",
    },
    "unanswered": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Nodes that did not answer in time: their connections are not counted.",
    },
}
_TO_CHANNEL: Final = {"type": "object", "title": "Sent", "required": list(_COUNTS), "properties": _COUNTS}
_ONLINE: Final = {"type": ["boolean", "null"], "description": "Whether the user is connected at all, anywhere."}
_TO_USER: Final = {
    "type": "object",
    "title": "SentToUser",
    "required": [*_COUNTS, "online"],
    "properties": {**_COUNTS, "online": _ONLINE},
}
_EXAMPLE: Final = {"id": "6f1c0e", "partition": 1, "offset": 88, "duplicate": False, "connections": 2, "unanswered": []}


def _body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "required": True,
        "content": {"application/json": {"schema": model.model_json_schema(), "example": example}},
    }


@router.post(
    "/send-to-user",
    summary="Send a message to a user",
    **documented(
        *(400, 403, 409, 413, 422, 503),
        status=202,
        description="The log has it",
        schema=_TO_USER,
        example={**_EXAMPLE, "online": True},
        body=_body(ToUser, {"user_id": "ann", "message": {"type": "user_notification", "data": {"text": "Hello"}}}),
    ),
)
async def send_to_user(request: Request) -> JSONResponse:
    """Append a message to the user's channel, as an event like any other: who is away gets it on coming back.

    `message.type` is a user type or a name of your own. Needs the role admin or the scope `publish`.
    """
    node, identity, body = await _admit(request, ToUser)
    channel = f"user:{body.user_id}"
    subscribed = About(channel=channel, without=body.exclude_connection_id)
    published = await _publish(node, identity, channel, body.message, body.exclude_connection_id)
    counted, connected = await asyncio.gather(_count(node, subscribed), _count(node, About(user=body.user_id)))
    online = None if connected is None else connected.connections > 0
    return JSONResponse({**_answer(published, counted), "online": online}, 202)


@router.post(
    "/send-to-channel",
    summary="Send a message to a channel",
    **documented(
        *(400, 403, 409, 413, 422, 503),
        status=202,
        description="The log has it",
        schema=_TO_CHANNEL,
        example=_EXAMPLE,
        body=_body(ToChannel, {"channel": "project:shop", "message": {"type": "project_updated", "data": {}}}),
    ),
)
async def send_to_channel(request: Request) -> JSONResponse:
    """Append a message to a channel, as an event like any other.

    `message.type` is of the channel's category (a task's, project's or user's; of `system` and `broadcast` a system
    type) or a name of your own; `broadcast` carries priorities 8 to 10. Needs the role admin or the scope `publish`.
    """
    node, identity, body = await _admit(request, ToChannel)
    published = await _publish(node, identity, body.channel, body.message, None)
    return JSONResponse(_answer(published, await _count(node, About(channel=body.channel))), 202)


async def _admit(request: Request, model: type[B]) -> tuple[Node, Identity, B]:
    node: Node = request.app.state.node
    identity = await identify(request)
    if not identity.may_publish:
        raise Problem(403, "sending needs a token with the scope publish, or the role admin", code="forbidden")
    given = await read_json(request, node.services.settings.max_event_bytes + _ROOM)
    try:
        return node, identity, model.model_validate(given)
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> Problem:
    found = [
        FieldError(".".join(map(str, one["loc"])), one["msg"], one["type"])
        for one in error.errors(include_url=False, include_input=False)
    ]
    detail = "; ".join(f"{one.field or 'the body'}: {one.detail}" for one in found[:3])
    return Problem(422, detail, code="invalid_request", errors=found)


async def _publish(
    node: Node, identity: Identity, channel: str, message: dict[str, Any], exclude: str | None
) -> Published:
    answer: Published | BadRequest
    try:
        event = event_for(channel, message, identity.user_id)
        (answer,) = await node.publisher.publish(identity, [event], exclude)
    except BadRequest as error:
        answer = error
    except LogUnavailable as error:
        raise unavailable(error, "the log does not answer, nothing was acknowledged: ") from error
    if isinstance(answer, Published):
        return answer
    wrong = FieldError(answer.field or "", str(answer), answer.code)
    raise Problem(_STATUS_OF.get(answer.code, 422), str(answer), code=answer.code, errors=[wrong])


async def _count(node: Node, about: About) -> Total | None:
    """How many it concerns; None while the nodes can't be asked, which is no reason not to send."""
    try:
        return await node.services.presence.ask(about)
    except Unavailable:
        return None


def _answer(published: Published, counted: Total | None) -> dict[str, object]:
    return {
        "id": published.id,
        "partition": published.place.partition,
        "offset": published.place.offset,
        "duplicate": published.duplicate,
        "connections": None if counted is None else counted.connections,
        "unanswered": [] if counted is None else counted.silent,
    }
