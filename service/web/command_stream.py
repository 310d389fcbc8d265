"""`GET /api/v1/tasks/{id}/commands`: what is asked of a running task, for whoever runs it."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from lastseen.channels import ID_PATTERN

from service.domain.errors import Unavailable
from service.node.command_stream import CommandStream
from service.node.node import Node
from service.web.carried_stream import CarriedStream
from service.web.documented import POSITION, documented
from service.web.event_stream_query import MEDIA_TYPE, LastEventId
from service.web.identified import identify
from service.web.problems import Problem, unavailable

router = APIRouter(prefix="/api/v1")

_DESCRIPTION: Final = """The commands that are sent to a task, as Server-Sent Events, for whoever runs its program.

Each command comes without a name, its `data` the command and its `id` the place of the stream behind it in the topic of
commands; what the service says itself has a name: `error` (with `retry_after` it goes on by itself; `token_expired`
ends it), `unsubscribed` (the task or a right has ended). Keep-alives are an `id` alone, or a comment.

It begins behind `Last-Event-ID`, else with the commands that may still be applied; a client that comes back with the
last `id` misses none. A command may come twice: apply each `user_id` and `id` once, and none after its `deadline`, and
report what became of it with `task_command` events. Needs a token that may publish (the scope `publish`, or the role
admin), of the user who started the task, or the role admin. 409 `task_ended`: the task has ended."""
_SENT: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "title": "ServerSentCommand",
        "description": "One event of the stream: its fields, as the HTML standard names them.",
        "additionalProperties": False,
        "properties": {
            "id": POSITION,
            "event": {"type": "string", "enum": ["message", "unsubscribed", "error"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
            "retry": {"type": "integer", "minimum": 0, "description": "Milliseconds."},
        },
    },
    "example": {
        "id": "5d41402abc4b:0=12,1=7",
        "data": '{"id":"c7","command":"task_cancel","task_id":"build-7","project_id":null,"user_id":"ann","role":null,'
        '"deadline":"2026-01-01T00:00:10.000Z","node":"node-1","data":{}}',
    },
}


@router.get(
    "/tasks/{task_id}/commands",
    summary="Hear the commands of a task that you run",
    description=_DESCRIPTION,
    response_class=Response,
    **documented(403, 409, 422, description="The stream", also={MEDIA_TYPE: _SENT}),
)
async def stream_commands(
    request: Request,
    task_id: Annotated[str, Path(pattern=ID_PATTERN, description="The id of the task.", examples=["build-7"])],
    last_event_id: LastEventId = None,
) -> Response:
    """The stream, or why it can't be had."""
    node: Node = request.app.state.node
    identity = await identify(request)
    if not identity.may_publish:
        raise Problem(403, "hearing commands needs a token with the scope publish, or the role admin", code="forbidden")
    return CarriedStream(request, identity, lambda: node.open_command_stream(identity, task_id, last_event_id), _judge)


async def _judge(stream: CommandStream) -> bytes:
    verdict = await stream.judge()
    if isinstance(verdict, Unavailable):
        raise unavailable(verdict)
    if not verdict:
        raise Problem(403, "only who has started the task, or an admin, may hear its commands", code="access_denied")
    if stream.has_ended:
        raise Problem(409, f"task {stream.task} has ended: nobody may command it any more", code="task_ended")
    return b""
