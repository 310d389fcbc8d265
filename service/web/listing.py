"""`GET /api/v1/projects`, `…/tasks` and `…/presence`: what there is that the caller may read, and who is online."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from lastseen.channels import ID_PATTERN, parse_channel
from lastseen.names import Role
from lastseen.task_state import TaskState
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from service.domain.messages import rfc3339
from service.domain.presence_records import MAX_LISTED, About
from service.domain.tasks import Task
from service.node.listing import ListedProject
from service.node.node import Node
from service.web.documented import POSITION, documented
from service.web.identified import identify
from service.web.problems import Problem
from service.web.states import check_right

router = APIRouter(prefix="/api/v1")

_COUNT: Final = {"type": "integer", "minimum": 0}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_TIME_OR_NULL: Final = {"type": ["string", "null"], "format": "date-time"}


def _page(name: str, item: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The schema of an answer that lists things."""
    properties = {name: {"type": "array", "items": {**item, "type": "object", "additionalProperties": False}}, **more}
    return {
        "type": "object",
        "title": f"{name.capitalize()}Page",
        "required": [*properties],
        "additionalProperties": False,
        "properties": properties,
    }


_PROJECT_FIELDS: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "name": _TEXT_OR_NULL,
    "role": {
        "type": ["string", "null"],
        "enum": [*(str(role) for role in Role), None],
        "description": "The caller's, by the log; null for one who may read it all the same.",
    },
    "members": {**_COUNT, "description": "How many there are; `GET /projects/{id}` names them."},
    "running_tasks": {**_COUNT, "description": "Tasks of it, as this node remembers them, that have not ended."},
}
_PROJECTS: Final = _page(
    "projects",
    {"required": [*_PROJECT_FIELDS], "properties": _PROJECT_FIELDS},
    next={**_TEXT_OR_NULL, "description": "For `after`, where there may be more; else null."},
    position=POSITION,
)
_PROJECTS_EXAMPLE: Final = {
    "projects": [{"id": "shop", "name": "Shop", "role": "owner", "members": 2, "running_tasks": 1}],
    "next": None,
    "position": "k3f9:0=1523,1=88",
}
_TASK_FIELDS: Final[dict[str, Any]] = {
    "id": {"type": "string"},
    "project_id": _TEXT_OR_NULL,
    "user_id": _TEXT_OR_NULL,
    "status": {"type": "string", "enum": [str(state) for state in TaskState]},
    "first_at": {
        "type": "string",
        "format": "date-time",
        "description": "When its `task_started` was appended; where none has come, its first event.",
    },
    "ended_at": {**_TIME_OR_NULL, "description": "When the event that ended it was appended."},
}
_TASKS: Final = _page("tasks", {"required": [*_TASK_FIELDS], "properties": _TASK_FIELDS}, position=POSITION)
_TASKS_EXAMPLE: Final = {
    "tasks": [
        {
            "id": "build-7",
            "project_id": "shop",
            "user_id": "ann",
            "status": "running",
            "first_at": "2026-01-31T12:00:00.012Z",
            "ended_at": None,
        }
    ],
    "position": "k3f9:0=1523,1=88",
}
_PRESENCE: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Presence",
    "required": ["users", "online_users", "total_connections", "complete"],
    "additionalProperties": False,
    "properties": {
        "channel": {"type": "string", "description": "Whose subscribers alone these are, where asked for."},
        "users": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_LISTED},
        "online_users": {**_COUNT, "description": "How many there are; a user on several nodes counts once."},
        "total_connections": _COUNT,
        "complete": {
            "type": "boolean",
            "description": f"False: these are not all `users`; more than {MAX_LISTED}, or a node does not answer.",
        },
    },
}
_PRESENCE_EXAMPLE: Final = {"users": ["ann", "bob"], "online_users": 2, "total_connections": 3, "complete": True}

_Limit = Annotated[int, Field(ge=1, le=1000, description="The most that are answered.")]


class ProjectsQuery(BaseModel):
    """The parameters of `GET /projects`."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[
        str | None, Field(pattern=ID_PATTERN, description="Begin behind the project with this id.", examples=["shop"])
    ] = None
    limit: _Limit = 100


class TasksQuery(BaseModel):
    """The parameters of `GET /tasks`."""

    model_config = ConfigDict(extra="forbid")

    project_id: Annotated[
        str | None, Field(pattern=ID_PATTERN, description="Only tasks of this project.", examples=["shop"])
    ] = None
    status: Annotated[
        list[TaskState], Field(max_length=len(TaskState), description="Only tasks in one of these states.")
    ] = []
    limit: _Limit = 50


class PresenceQuery(BaseModel):
    """The parameters of `GET /presence`."""

    model_config = ConfigDict(extra="forbid")

    channel: Annotated[
        str | None,
        AfterValidator(lambda name: name and str(parse_channel(name))),
        WithJsonSchema({"type": "string", "examples": ["project:shop"]}),
        Field(description="Only users that are subscribed to this channel."),
    ] = None


@router.get(
    "/projects",
    summary="The projects that the caller may read",
    **documented(422, schema=_PROJECTS, example=_PROJECTS_EXAMPLE, description="By their ids, as of `position`"),
)
async def list_projects(request: Request, query: Annotated[ProjectsQuery, Query()]) -> dict[str, object]:
    """Projects that are not deleted: of the role admin all, of others those that they are members of.

    What was appended a moment ago may not be among them; `position` says how far the node has come.
    """
    node: Node = request.app.state.node
    identity = await identify(request)
    found = await node.services.listing.projects(identity, query.after or "", query.limit)
    return {
        "projects": [_project(one) for one in found],
        "next": found[-1].project.id if len(found) == query.limit else None,
        "position": node.services.head.token,
    }


@router.get(
    "/tasks",
    summary="The newest tasks that the caller may read",
    **documented(422, schema=_TASKS, example=_TASKS_EXAMPLE, description="Those that began last first, by `position`"),
)
async def list_tasks(request: Request, query: Annotated[TasksQuery, Query()]) -> dict[str, object]:
    """Tasks that the node remembers (50,000 unless the deployment says otherwise), the one that began last first.

    `GET /tasks/{id}` says more of each, and what is not remembered.
    """
    node: Node = request.app.state.node
    identity = await identify(request)
    found = await node.services.listing.tasks(identity, query.project_id, query.status, query.limit)
    return {"tasks": [_task(one) for one in found], "position": node.services.head.token}


@router.get(
    "/presence",
    summary="Who is online",
    **documented(403, 422, schema=_PRESENCE, example=_PRESENCE_EXAMPLE, description="Over all nodes"),
)
async def presence(request: Request, query: Annotated[PresenceQuery, Query()]) -> dict[str, object]:
    """The users that are connected, or that are subscribed to a channel.

    Needs the role admin or the scope `publish`; of a channel, the right to read that is enough.
    """
    node: Node = request.app.state.node
    identity = await identify(request)
    if not identity.may_publish:
        if query.channel is None:
            raise Problem(
                403, "who is online is for the role admin and the scope publish; name a channel", code="forbidden"
            )
        await check_right(node, identity, query.channel)
    total = await node.services.presence.stats(About(channel=query.channel))
    users = total.listed_users if query.channel is not None else node.services.presence.users(MAX_LISTED)
    return {
        **query.model_dump(exclude_none=True),
        "users": users,
        "online_users": total.users,
        "total_connections": total.connections,
        "complete": len(users) >= total.users and (query.channel is None or not total.silent),
    }


def _project(one: ListedProject) -> dict[str, object]:
    return {
        "id": one.project.id,
        "name": one.project.name,
        "role": one.role,
        "members": one.members,
        "running_tasks": one.running,
    }


def _task(task: Task) -> dict[str, object]:
    return {
        "id": task.id,
        "project_id": task.project,
        "user_id": task.user,
        "status": task.state,
        "first_at": rfc3339(task.fixed_by.appended_at),
        "ended_at": rfc3339(task.changed_by.appended_at) if task.ended and task.changed_by is not None else None,
    }
