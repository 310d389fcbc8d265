"""`POST /api/v1/tasks/{id}/input|cancel|pause|resume|confirm`: what is done to a running task."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from lastseen.channels import ID_PATTERN
from lastseen.commands import MAX_CONFIRMATION_ID, MAX_INPUT_BYTES, TO_RUNNING_TASKS, CommandName
from lastseen.field_errors import FieldError

from service.domain.command_requests import CommandRequest, read_command
from service.domain.commands import CommandResult, State
from service.domain.errors import BadRequest, Denied, Unavailable
from service.domain.identity import Identity
from service.node.node import Node
from service.web.bodies import read_json
from service.web.documented import documented
from service.web.identified import identify
from service.web.problems import Problem, refused, unavailable
from service.web.states import check_right

router = APIRouter(prefix="/api/v1")

_MOST_BYTES: Final = 6 * MAX_INPUT_BYTES + 16 * 1024
"""Of a body: every character may be written as an escape of six."""
_SUMMARIES: Final = {
    CommandName.INPUT: "Give a task input",
    CommandName.CANCEL: "Cancel a task",
    CommandName.PAUSE: "Pause a task",
    CommandName.RESUME: "Let a paused task go on",
    CommandName.CONFIRM: "Answer what a task asked to be confirmed",
}
_FIELDS: Final[Mapping[CommandName, dict[str, Any]]] = {
    **{command: {} for command in TO_RUNNING_TASKS},
    CommandName.INPUT: {
        "input": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_INPUT_BYTES,
            "description": f"At most {MAX_INPUT_BYTES} bytes of UTF-8.",
        }
    },
    CommandName.CONFIRM: {
        "confirmation_id": {"type": "string", "minLength": 1, "maxLength": MAX_CONFIRMATION_ID},
        "approved": {"type": "boolean"},
    },
}
_EXAMPLES: Final[Mapping[CommandName, dict[str, Any]]] = {
    CommandName.INPUT: {"input": "yes\n"},
    CommandName.CONFIRM: {"confirmation_id": "c1", "approved": True},
}
_ID: Final[dict[str, Any]] = {
    "type": ["string", "null"],
    "pattern": ID_PATTERN,
    "description": "The idempotency key: a retry with it is the same command, and is applied once.",
}
_DESCRIPTION: Final = (
    "Answered when the runner has said what became of it: 200 where it was applied, 409 where it was not and never "
    "will be (`state` is `rejected` or `expired`), 202 where that is not known (`unknown`): then the task's channel "
    "tells later, and so does the same command, sent again with its `id`. Each says `success`, `state` and `reason`. "
    "Needs the right to act on the task."
)


def _outcome(states: list[State]) -> dict[str, Any]:
    return {
        "id": {"type": "string"},
        "task_id": {"type": "string"},
        "command": {"type": "string", "enum": [command.value for command in TO_RUNNING_TASKS]},
        "success": {"type": "boolean", "const": states == [State.APPLIED]},
        "state": {"type": "string", "enum": [state.value for state in states]},
        "reason": {"type": ["string", "null"]},
    }


def _answered(description: str, state: State, reason: str | None) -> dict[str, Any]:
    properties = _outcome([state])
    schema = {
        "type": "object",
        "title": "CommandResult",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }
    example = _answer(CommandResult("c7", CommandName.INPUT, "build-7", state, reason))
    return {"description": description, "schema": schema, "example": example}


def _documented(command: CommandName) -> dict[str, Any]:
    fields = _FIELDS[command]
    described = documented(
        *(400, 403, 404, 409, 413, 422, 503),
        **_answered("It was applied", State.APPLIED, None),
        body={
            "required": bool(fields),
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": list(fields),
                        "additionalProperties": False,
                        "properties": {**fields, "id": _ID},
                    },
                    "example": {**_EXAMPLES.get(command, {}), "id": "c7"},
                }
            },
        },
    )
    unknown = documented(**_answered("What became of it is not known", State.UNKNOWN, "no_answer"), status=202)
    described["responses"][202] = unknown["responses"][202]
    refusal = described["responses"][409]["content"]["application/problem+json"]
    properties = _outcome([State.REJECTED, State.EXPIRED])
    told = {"properties": properties, "dependentRequired": {"success": list(properties)}}
    refusal["schema"] = {"allOf": [refusal["schema"], told]}
    return described


def _route(command: CommandName) -> Callable[..., Coroutine[Any, Any, JSONResponse]]:
    async def act(
        request: Request,
        task_id: Annotated[str, Path(pattern=ID_PATTERN, description="The id of the task.", examples=["build-7"])],
    ) -> JSONResponse:
        node: Node = request.app.state.node
        identity = await identify(request)
        return await _send(node, identity, await _read(request, command, task_id))

    return act


async def _read(request: Request, command: CommandName, task_id: str) -> CommandRequest:
    fields = _FIELDS[command]
    given = await read_json(request, _MOST_BYTES, may_be_empty=not fields)
    if not isinstance(given, dict):
        raise refused([FieldError("", "must be an object", "object")])
    if unknown := given.keys() - fields.keys() - {"id"}:
        raise refused([FieldError(name, "", "extra_forbidden") for name in sorted(unknown)])
    try:
        return read_command(command, {**given, "task_id": task_id})
    except BadRequest as error:
        raise refused([FieldError(error.field or "", str(error), error.code)]) from error


async def _send(node: Node, identity: Identity, request: CommandRequest) -> JSONResponse:
    try:
        result = await node.commands.commander.send(identity, request)
    except Denied as error:
        raise await _denied(node, identity, request.task_id) from error
    except BadRequest as error:
        raise Problem(409, str(error), code=error.code, more={"id": request.id, "task_id": request.task_id}) from error
    except Unavailable as error:
        raise unavailable(error) from error
    answer = _answer(result)
    match result.state:
        case State.APPLIED:
            return JSONResponse(answer)
        case State.REJECTED | State.EXPIRED:
            detail = f"it was not applied, and never will be: {result.reason or 'the runner has not said why'}"
            raise Problem(409, detail, code=result.state.value, more=answer)
        case _:
            return JSONResponse(answer, 202)


async def _denied(node: Node, identity: Identity, task_id: str) -> Problem:
    """404 only for whoever may read whatever there is: to others it would tell what there is."""
    await check_right(node, identity, f"task:{task_id}")
    try:
        known = await node.services.rights.find(task_id)
    except Unavailable as error:
        return unavailable(error)
    if known is None:
        return Problem(404, f"the log has no event of a task {task_id}", code="not_found")
    return Problem(403, "Task access denied", code="access_denied")


def _answer(result: CommandResult) -> dict[str, object]:
    return {
        "id": result.id,
        "task_id": result.task_id,
        "command": result.command.value,
        "success": result.success,
        "state": result.state.value,
        "reason": result.reason,
    }


for _command in TO_RUNNING_TASKS:
    _word = _command.value.removeprefix("task_")
    router.add_api_route(
        f"/tasks/{{task_id}}/{_word}",
        _route(_command),
        methods=["POST"],
        name=_command.value,
        summary=_SUMMARIES[_command],
        description=_DESCRIPTION,
        response_model=None,
        **_documented(_command),
    )
