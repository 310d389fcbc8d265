"""`POST /api/v1/websocket/ticket`: what connects once, so that no access token stands in an address."""

import time
from datetime import UTC
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from service.domain.errors import TooMany, Unavailable
from service.web.documented import documented
from service.web.door import Door
from service.web.identified import identify, too_many
from service.web.problems import unavailable

router = APIRouter(prefix="/api/v1")

_EXAMPLE: Final = {"ticket": "4gVHqk…", "expires_at": "2026-01-31T12:00:30.000Z"}
_SCHEMA: Final = {
    "type": "object",
    "required": ["ticket", "expires_at"],
    "additionalProperties": False,
    "properties": {
        "ticket": {"type": "string", "description": "For `GET /ws?ticket=…`, once, on any node."},
        "expires_at": {"type": "string", "format": "date-time"},
    },
}


@router.post(
    "/websocket/ticket",
    summary="A ticket for one connection",
    response_model=None,
    **documented(schema=_SCHEMA, example=_EXAMPLE, description="The ticket, and until when it is good"),
)
async def buy_ticket(request: Request) -> JSONResponse:
    """It connects once, as the caller and for as long as the caller's token is good. Needs no body."""
    identity = await identify(request)
    door: Door = request.app.state.door
    wait = door.limits.ticket(identity.user_id, time.monotonic())
    try:
        if wait:
            raise TooMany("Too many tickets at once", retry_after=wait)
        ticket = await door.tickets.issue(identity)
    except TooMany as error:
        raise too_many(error) from error
    except Unavailable as error:
        raise unavailable(error) from error
    expires_at = ticket.expires_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return JSONResponse({"ticket": ticket.text, "expires_at": expires_at}, headers={"Cache-Control": "no-store"})
