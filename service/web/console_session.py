"""`/api/v1/console`: a code that signs in once, the session that it opens, and how that goes on."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from lastseen.field_errors import field_errors
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.domain.errors import TooMany, Unavailable
from service.domain.identity import SCOPE_CONSOLE, Identity
from service.web.bodies import read_json
from service.web.documented import documented
from service.web.door import Door
from service.web.identified import identify, let_in, too_many
from service.web.problems import Problem, refused, unavailable
from service.web.sign_in import SignIn

router = APIRouter(prefix="/api/v1/console")

_MOST_BYTES: Final = 4096
_TIME: Final = {"type": "string", "format": "date-time"}
_CODE: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Code",
    "required": ["code", "expires_at"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "string", "description": "For `POST /console/session`, once, on any node."},
        "expires_at": _TIME,
    },
}
_SESSION: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Session",
    "required": ["token", "expires_at", "user", "role"],
    "additionalProperties": False,
    "properties": {
        "token": {"type": "string", "description": "An access token like any other."},
        "expires_at": _TIME,
        "user": {"type": "string"},
        "role": {"type": "string"},
    },
}
_SESSION_EXAMPLE: Final = {
    "token": "eyJhbGciOi…",
    "expires_at": "2026-01-31T20:00:00.000Z",
    "user": "local",
    "role": "admin",
}


class SessionBody(BaseModel):
    """What `POST /console/session` takes."""

    model_config = ConfigDict(extra="forbid")

    code: Annotated[str, Field(min_length=1, max_length=256, description="Of `/#code=…` in a link to the console.")]


_BODY: Final = {
    "required": True,
    "content": {"application/json": {"schema": SessionBody.model_json_schema(), "example": {"code": "4gVHqk…"}}},
}


@router.post(
    "/codes",
    summary="A code that signs in to the console once",
    response_model=None,
    **documented(403, schema=_CODE, example={"code": "4gVHqk…", "expires_at": "2026-01-31T12:10:00.000Z"}),
)
async def make_code(request: Request) -> JSONResponse:
    """It signs in as the caller, within ten minutes unless the deployment says otherwise. Needs no body.

    Needs a token with the scope `console`, which whoever signs it gives to those alone who may have further ones
    for it; `lastseen console` makes its own. 403 `no_sign_in`: this deployment does not sign its tokens itself.
    """
    identity = await identify(request)
    sign_in = _for(request, identity)
    door: Door = request.app.state.door
    wait = door.limits.ticket(identity.user_id, time.monotonic())
    try:
        if wait:
            raise TooMany("Too many codes at once", retry_after=wait)
        code = await sign_in.codes.issue(identity)
    except TooMany as error:
        raise too_many(error) from error
    except Unavailable as error:
        raise unavailable(error) from error
    return _private({"code": code.text, "expires_at": _text(code.expires_at)})


@router.post(
    "/session",
    summary="Sign in to the console",
    response_model=None,
    **documented(
        *(400, 401, 403, 413, 422, 429, 503),
        is_open=True,
        schema=_SESSION,
        example=_SESSION_EXAMPLE,
        body=_BODY,
    ),
)
async def begin_session(request: Request) -> JSONResponse:
    """A token for a code, which is spent with that. 401: there is no such code, or it has been spent or has expired."""
    sign_in = _sign_in(request)
    try:
        body = SessionBody.model_validate(await read_json(request, _MOST_BYTES))
    except ValidationError as error:
        raise refused(field_errors(error)) from error
    door: Door = request.app.state.door
    identity = await let_in(door.check(sign_in.codes.spend, body.code, request.client))
    return _session(sign_in, identity)


@router.post(
    "/renew",
    summary="Go on with a session",
    response_model=None,
    **documented(403, schema=_SESSION, example=_SESSION_EXAMPLE),
)
async def renew_session(request: Request) -> JSONResponse:
    """A fresh token for one that is still good and has the scope `console`. Needs no body."""
    identity = await identify(request)
    return _session(_for(request, identity), identity)


def _sign_in(request: Request) -> SignIn:
    door: Door = request.app.state.door
    if door.sign_in is None:
        raise Problem(
            403,
            "tokens of this deployment are signed by its issuer and not here: sign in with one of those",
            code="no_sign_in",
        )
    return door.sign_in


def _for(request: Request, identity: Identity) -> SignIn:
    sign_in = _sign_in(request)
    if not identity.may_go_on:
        raise Problem(403, f"the token does not have the scope {SCOPE_CONSOLE}", code="forbidden")
    return sign_in


def _session(sign_in: SignIn, identity: Identity) -> JSONResponse:
    token, lasting = sign_in.session(identity, time.time())
    ends = datetime.fromtimestamp(lasting.expires_at, UTC)
    return _private({"token": token, "expires_at": _text(ends), "user": lasting.user_id, "role": lasting.role})


def _private(body: dict[str, str]) -> JSONResponse:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
