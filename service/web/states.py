"""`/api/v1/tasks/{id}` and `/api/v1/projects/{id}`: what is so as of a position, from which to subscribe."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from lastseen.channels import ID_PATTERN
from lastseen.names import Role
from lastseen.task_state import TaskState

from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.domain.messages import rfc3339
from service.domain.stamps import Stamp
from service.node.node import Node
from service.node.states import ProjectAnswer, TaskAnswer
from service.web.documented import POSITION, documented
from service.web.identified import identify
from service.web.problems import Problem, unavailable

router = APIRouter(prefix="/api/v1")

_SEAM: Final = (
    "Everything acknowledged before the call is in it, nothing above `position` is: subscribe with `after=position` "
    "and go on from there."
)
_NULLABLE_TEXT: Final[dict[str, Any]] = {"type": ["string", "null"]}
_NULLABLE_TIME: Final[dict[str, Any]] = {"type": ["string", "null"], "format": "date-time"}
_NULLABLE_DATA: Final[dict[str, Any]] = {"type": ["object", "null"]}


def _data(description: str) -> dict[str, Any]:
    return {**_NULLABLE_DATA, "description": f"The `data` of {description}."}


_COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_SCREEN: Final[dict[str, Any]] = {
    "type": ["object", "null"],
    "title": "Screen",
    "description": "The screen of the task's terminal, as the `data` of a `task_screen`: `text` draws it on a terminal "
    "of that size, and the bytes of the stream `pty` from `offset` on go on from there. Null for a task without a "
    "terminal, and where it can't be told.",
    "required": ["columns", "rows", "offset", "text", "cursor"],
    "additionalProperties": False,
    "properties": {
        "columns": {"type": "integer", "minimum": 1},
        "rows": {"type": "integer", "minimum": 1},
        "offset": _COUNT,
        "text": {"type": "string"},
        "cursor": {
            "type": "object",
            "required": ["line", "column", "visible"],
            "additionalProperties": False,
            "properties": {"line": _COUNT, "column": _COUNT, "visible": {"type": "boolean"}},
        },
    },
}
_TASK: Final[dict[str, Any]] = {
    "type": "object",
    "title": "TaskState",
    "required": [
        *("id", "project_id", "user_id", "status", "started_at", "ended_at"),
        *("progress", "confirmation", "result", "screen", "position"),
    ],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "project_id": _NULLABLE_TEXT,
        "user_id": _NULLABLE_TEXT,
        "status": {"type": "string", "enum": [str(state) for state in TaskState]},
        "started_at": {**_NULLABLE_TIME, "description": "When its `task_started` was appended; null: none has come."},
        "ended_at": {**_NULLABLE_TIME, "description": "When the event that ended it was appended."},
        "progress": _data("its last `task_progress_update`"),
        "confirmation": _data("the `task_confirmation_required` that it waits for"),
        "result": _data("the event that ended it"),
        "screen": _SCREEN,
        "position": POSITION,
    },
}
_TASK_EXAMPLE: Final[dict[str, Any]] = {
    "id": "build-7",
    "project_id": "shop",
    "user_id": "ann",
    "status": "waiting",
    "started_at": "2026-01-31T12:00:00.012Z",
    "ended_at": None,
    "progress": {"percent": 40},
    "confirmation": {"confirmation_id": "c1", "question": "Overwrite main.py?"},
    "result": None,
    "screen": {
        "columns": 80,
        "rows": 24,
        "offset": 14,
        "text": "\x1bc\x1b[1m>>> \x1b[0m6 * 7",
        "cursor": {"line": 0, "column": 9, "visible": True},
    },
    "position": "k3f9:0=1523,1=88",
}
_PROJECT: Final[dict[str, Any]] = {
    "type": "object",
    "title": "ProjectState",
    "required": ["id", "name", "owner", "members", "deleted", "data", "position"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "name": _NULLABLE_TEXT,
        "owner": {**_NULLABLE_TEXT, "description": "Of several, the one who has been it for longest."},
        "members": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["user_id", "role"],
                "additionalProperties": False,
                "properties": {
                    "user_id": {"type": "string"},
                    "role": {"type": "string", "enum": [str(role) for role in Role]},
                },
            },
        },
        "deleted": {"type": "boolean", "description": "For good: it has no members and no data any more."},
        "data": _data("its newest `project_created`, `project_updated` or `project_config_changed`"),
        "position": POSITION,
    },
}
_PROJECT_EXAMPLE: Final[dict[str, Any]] = {
    "id": "shop",
    "name": "Shop",
    "owner": "ann",
    "members": [{"user_id": "ann", "role": "owner"}, {"user_id": "bob", "role": "viewer"}],
    "deleted": False,
    "data": {"name": "Shop", "owner_id": "ann"},
    "position": "k3f9:0=1523,1=88",
}


def _id(what: str, example: str) -> Any:
    return Path(pattern=ID_PATTERN, description=f"The id of the {what}.", examples=[example])


@router.get(
    "/tasks/{task_id}",
    summary="The state of a task",
    description=f"What the log says of a task as of a position. {_SEAM} What only dropped events said is null; times "
    "are the log's own. Needs the right to read the task.",
    response_model=None,
    **documented(403, 404, 422, 503, schema=_TASK, example=_TASK_EXAMPLE, description="The task as of `position`"),
)
async def read_task(request: Request, task_id: Annotated[str, _id("task", "build-7")]) -> Response:
    """A task as of a position."""
    node: Node = request.app.state.node
    identity = await identify(request)
    await check_right(node, identity, f"task:{task_id}")
    try:
        found = await node.services.states.task(task_id)
    except Unavailable as error:
        raise unavailable(error) from error
    # It may have ended while the state was read.
    await check_right(node, identity, f"task:{task_id}")
    if found is None:
        raise Problem(404, f"the log has no event of a task {task_id}", code="not_found")
    return JSONResponse(_task(found))


@router.get(
    "/projects/{project_id}",
    summary="The state of a project",
    description=f"What the log says of a project and its members as of a position. {_SEAM} Needs the right to read the "
    "project; a deleted one may be read with the role admin.",
    response_model=None,
    **documented(
        403, 404, 422, 503, schema=_PROJECT, example=_PROJECT_EXAMPLE, description="The project as of `position`"
    ),
)
async def read_project(request: Request, project_id: Annotated[str, _id("project", "shop")]) -> Response:
    """A project as of a position."""
    node: Node = request.app.state.node
    identity = await identify(request)
    await check_right(node, identity, f"project:{project_id}")
    try:
        found = await node.services.states.project(project_id)
    except Unavailable as error:
        raise unavailable(error) from error
    # It may have ended while the state was read.
    await check_right(node, identity, f"project:{project_id}")
    if found is None:
        raise Problem(404, f"nothing in the log has begun a project {project_id}", code="not_found")
    return JSONResponse(_project(found))


async def check_right(node: Node, identity: Identity, channel: str) -> None:
    """Raises Problem: what must not be read and what there is not look the same to whoever may not read all."""
    verdict = (await node.services.access.judge(identity, [channel]))[channel]
    if isinstance(verdict, Unavailable):
        raise unavailable(verdict, f"{channel}: ") from verdict
    if not verdict:
        kind = channel.partition(":")[0].capitalize()
        raise Problem(403, f"{kind} access denied", code="access_denied")


def _task(answer: TaskAnswer) -> dict[str, object]:
    task, details = answer.task, answer.details
    return {
        "id": task.id,
        "project_id": task.project,
        "user_id": task.user,
        "status": task.state,
        "started_at": _time(task.fixed_by if task.started else None),
        "ended_at": _time(task.changed_by if task.ended else None),
        "progress": details.progress,
        "confirmation": details.confirmation,
        "result": details.result,
        "screen": answer.screen,
        "position": answer.position,
    }


def _project(answer: ProjectAnswer) -> dict[str, object]:
    project, members = answer.project, answer.members
    return {
        "id": project.id,
        "name": project.name,
        "owner": next((member.user for member in members if member.role is Role.OWNER), None),
        "members": [{"user_id": member.user, "role": member.role} for member in members],
        "deleted": project.deleted,
        "data": answer.data,
        "position": answer.position,
    }


def _time(stamp: Stamp | None) -> str | None:
    return None if stamp is None else rfc3339(stamp.appended_at)
