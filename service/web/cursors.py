"""`/api/v1/cursors`: the caller's durable cursors, to be seen and to be forgotten."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from lastseen.channels import ID_PATTERN

from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.node.node import Node
from service.ports import Cursor, CursorKey
from service.web.documented import POSITION, documented
from service.web.identified import identify
from service.web.problems import Problem, unavailable

router = APIRouter(prefix="/api/v1/cursors")

_CURSOR: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Cursor",
    "required": ["client_id", "position", "moved_at", "expires_at"],
    "additionalProperties": False,
    "properties": {
        "client_id": {
            "type": "string",
            "description": "As the client connects; empty for the one that clients without a name share.",
        },
        "position": POSITION,
        "moved_at": {"type": "string", "format": "date-time"},
        "expires_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it is forgotten, unless it moves before; null where that never happens.",
        },
    },
}
_EXAMPLE: Final = {
    "client_id": "phone",
    "position": "k3f9:0=1523,1=88",
    "moved_at": "2026-01-31T12:00:00.000000Z",
    "expires_at": "2026-05-01T12:00:00.000000Z",
}
_LIST: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Cursors",
    "required": ["cursors"],
    "additionalProperties": False,
    "properties": {"cursors": {"type": "array", "items": _CURSOR}},
}
_ABOUT: Final = (
    "A durable cursor says up to where a client of the user, by its `client_id`, has acknowledged the user's channel: "
    "what came since is delivered when it connects without a position. One that has not moved for 90 days (unless the "
    "deployment says otherwise) is forgotten."
)
_FORGETTING: Final = "Without it, the next connection of that client gets up to 7 days of offline messages."

_ClientId = Annotated[
    str, Path(pattern=ID_PATTERN, description="The name of the client, as it connects with.", examples=["phone"])
]


@router.get(
    "",
    summary="All durable cursors of the caller",
    description=_ABOUT,
    response_model=None,
    **documented(429, 503, schema=_LIST, example={"cursors": [_EXAMPLE]}, description="By the names of the clients"),
)
async def read_cursors(request: Request) -> Response:
    """Every cursor of the caller."""
    return JSONResponse({"cursors": [_shown(cursor) for cursor in await _all(request, await identify(request))]})


@router.get(
    "/{client_id}",
    summary="A durable cursor of the caller",
    description=_ABOUT,
    response_model=None,
    **documented(404, 422, 429, 503, schema=_CURSOR, example=_EXAMPLE, description="The cursor of that client"),
)
async def read_cursor(request: Request, client_id: _ClientId) -> Response:
    """The cursor of one client."""
    for cursor in await _all(request, await identify(request)):
        if cursor.client_id == client_id:
            return JSONResponse(_shown(cursor))
    raise _no_cursor(client_id)


@router.delete(
    "",
    summary="Forget all durable cursors of the caller",
    description=f"{_FORGETTING} So does that of every other client.",
    response_model=None,
    **documented(429, 503, status=204, description="There is none any more"),
)
async def delete_cursors(request: Request) -> Response:
    """No cursor of the caller, that of clients without a name included."""
    identity = await identify(request)
    for cursor in await _all(request, identity):
        await _delete(request, CursorKey(identity.user_id, cursor.client_id))
    return Response(status_code=204)


@router.delete(
    "/{client_id}",
    summary="Forget a durable cursor of the caller",
    description=_FORGETTING,
    response_model=None,
    **documented(404, 422, 429, 503, status=204, description="There is none of that name any more"),
)
async def delete_cursor(request: Request, client_id: _ClientId) -> Response:
    """The cursor of one client is forgotten."""
    if not await _delete(request, CursorKey((await identify(request)).user_id, client_id)):
        raise _no_cursor(client_id)
    return Response(status_code=204)


async def _all(request: Request, identity: Identity) -> Sequence[Cursor]:
    node: Node = request.app.state.node
    try:
        return await node.services.cursors.of_user(identity.user_id)
    except Unavailable as error:
        raise unavailable(error) from error


async def _delete(request: Request, key: CursorKey) -> bool:
    node: Node = request.app.state.node
    try:
        return await node.services.cursors.delete(key)
    except Unavailable as error:
        raise unavailable(error) from error


def _no_cursor(client_id: str) -> Problem:
    return Problem(404, f"no client of yours named {client_id} has acknowledged anything yet", code="not_found")


def _shown(cursor: Cursor) -> dict[str, str | None]:
    return {
        "client_id": cursor.client_id,
        "position": cursor.position.token,
        "moved_at": _time(cursor.moved_at),
        "expires_at": None if cursor.expires_at is None else _time(cursor.expires_at),
    }


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
