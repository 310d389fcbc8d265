"""`POST /api/v1/tasks`: a program is to run as a task, on whichever runner takes it."""

import re
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from lastseen.channels import ID_PATTERN
from lastseen.field_errors import FieldError, field_errors
from lastseen.task_start import MAX_COMMAND_BYTES, MAX_ENV_BYTES, TaskStart
from pydantic import ConfigDict, Field, ValidationError

from service.domain.commands import ID_IN_USE, State
from service.domain.errors import BadRequest, Denied, Unavailable
from service.domain.task_starts import Started, start_request
from service.node.node import Node
from service.web.bodies import read_json
from service.web.documented import POSITION, documented
from service.web.identified import identify
from service.web.problems import Problem, refused, unavailable

router = APIRouter(prefix="/api/v1")

_MOST_BYTES: Final = 6 * (MAX_COMMAND_BYTES + MAX_ENV_BYTES) + 16 * 1024
"""Of a body: every character may be written as an escape of six."""
_CODE: Final = re.compile(r"[a-z][a-z0-9_]*")
_WORDS: Final = {
    "not_allowed": "the runner's allow-list has no such command",
    "cwd_not_allowed": "cwd is not below the runner's work root, or is not there",
    "env_not_allowed": "env names a variable that the runner's allow-list has not",
    "unknown_adapter": "the runner has no adapter of that name",
    ID_IN_USE: "there is a task of that id already: choose another task_id, or leave it out",
}

_Id = Annotated[str, Field(pattern=ID_PATTERN)]


class StartBody(TaskStart):
    """The body of a start."""

    model_config = ConfigDict(extra="forbid", title="TaskStart")

    project_id: _Id
    task_id: Annotated[
        _Id | None, Field(description="The task's id, which no task has had. Without one the node makes it of `id`.")
    ] = None
    id: Annotated[
        _Id | None, Field(description="The idempotency key: a retry with it is the same start, and starts once.")
    ] = None


_STARTED: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Started",
    "required": ["task_id", "id", "state", "reason", "partition", "offset", "position"],
    "additionalProperties": False,
    "properties": {
        "task_id": {"type": "string"},
        "id": {"type": "string"},
        "state": {
            "type": "string",
            "enum": [State.APPLIED.value, State.UNKNOWN.value],
            "description": "`unknown`: the task has begun, and what became of the start its channel tells.",
        },
        "reason": {"type": ["string", "null"]},
        "partition": {"type": "integer", "minimum": 0, "description": "Of the task's first event, as `offset`."},
        "offset": {"type": "integer", "minimum": 0},
        "position": POSITION,
    },
}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": StartBody.model_json_schema(),
            "example": {"project_id": "shop", "command": ["make", "-j2", "test"], "timeout_seconds": 600},
        }
    },
}
_DESCRIPTION: Final = """Run a program as a task of the project, on whichever runner takes it.

Answered when the runner has begun the task: subscribe to `task:{task_id}` with `after=position`, and everything of it
comes. `command` is the program and its arguments, which no shell reads. A runner refuses with 403 what its settings
don't allow; `code` says which (`not_allowed`, `cwd_not_allowed`, `env_not_allowed`, `unknown_adapter`), and
`task_id` names the task, which has failed for that reason. 409 `task_id_in_use`: there is such a task. 503
`no_runner`: nobody has taken the start before its deadline; sent again with its `id`, which every refusal
repeats, it is the same start. Needs the role of an owner or member of the project, or the role admin."""


@router.post(
    "/tasks",
    summary="Start a task",
    description=_DESCRIPTION,
    **documented(
        *(400, 403, 409, 413, 422, 503),
        status=202,
        description="A runner has begun the task",
        schema=_STARTED,
        example={
            "task_id": "task-5d41402abc4b2a76",
            "id": "0f8fad5bd9cb469fa16570867728950e",
            "state": "applied",
            "reason": None,
            "partition": 3,
            "offset": 1523,
            "position": "k3f9:0=1522,1=88",
        },
        body=_BODY,
    ),
)
async def start_task(request: Request) -> JSONResponse:
    """Start a task; answered when a runner has said what became of that, or none has by the deadline."""
    node: Node = request.app.state.node
    identity = await identify(request)
    given = await read_json(request, min(node.services.settings.max_body_bytes, _MOST_BYTES))
    try:
        body = StartBody.model_validate(given)
    except ValidationError as error:
        raise refused(field_errors(error)) from error
    command = start_request(identity.user_id, body.project_id, body, body.id or uuid4().hex, body.task_id)
    names = {"task_id": command.task_id, "id": command.id}
    try:
        started = await node.services.starter.start(identity, command)
    except Denied as error:
        raise Problem(403, str(error), code="access_denied") from error
    except BadRequest as error:
        errors = [FieldError(error.field or "", str(error), error.code)]
        raise Problem(409, str(error), code=error.code, errors=errors, more=names) from error
    except Unavailable as error:
        raise unavailable(error, more=names) from error
    if started.state is State.REJECTED:
        raise _rejected(started, names)
    return JSONResponse(
        {
            **names,
            "state": started.state,
            "reason": started.reason,
            "partition": started.partition,
            "offset": started.offset,
            "position": started.position,
        },
        202,
    )


def _rejected(started: Started, names: dict[str, str | None]) -> Problem:
    reason = started.reason or ""
    detail = _WORDS.get(reason, f"the runner has refused the start: {reason or 'it has not said why'}")
    code = reason if _CODE.fullmatch(reason) else "rejected"
    more = {**names, "state": started.state, "reason": started.reason}
    return Problem(409 if reason == ID_IN_USE else 403, detail, code=code, more=more)
