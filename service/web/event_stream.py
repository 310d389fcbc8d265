"""`GET /api/v1/events/stream`: the events of channels as Server-Sent Events."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.node.event_stream import EventStream
from service.node.node import Node
from service.node.starts import Start
from service.web.carried_stream import CarriedStream
from service.web.credentials import given
from service.web.documented import documented
from service.web.door import Door
from service.web.event_stream_query import DESCRIPTION, MEDIA_TYPE, SENT, EventStreamQuery, LastEventId
from service.web.identified import identify
from service.web.problems import Problem

PATH: Final = "/api/v1/events/stream"

router = APIRouter()


@router.get(
    PATH,
    summary="Follow channels by Server-Sent Events",
    description=DESCRIPTION,
    response_class=Response,
    **documented(403, 422, description="The stream", also={MEDIA_TYPE: SENT}),
)
async def stream_events(
    request: Request, query: Annotated[EventStreamQuery, Query()], last_event_id: LastEventId = None
) -> Response:
    """The stream, or why it can't be had."""
    door: Door = request.app.state.door
    if not door.lets_page(request.headers):
        raise Problem(403, "pages of this origin may not read it", code="forbidden")
    identity = await identify(request, given((), request.headers, request.query_params))
    resumed = None if last_event_id is None else Start(after=last_event_id)
    node: Node = request.app.state.node
    return CarriedStream(
        request,
        identity,
        lambda: node.open_stream(identity, query.wanted, resumed or query.start),
        lambda stream: _judge(stream, is_resumed=resumed is not None),
    )


async def _judge(stream: EventStream, *, is_resumed: bool) -> bytes:
    """What is said of channels that may not be read. Raises Problem where it can't be a stream without them.

    Whoever comes back names the channels that he began with, and of those he may have lost some: he goes on
    with the others.
    """
    denied = (await stream.judge()).denied
    if denied and (not is_resumed or len(denied) == len(stream.channels)):
        raise Problem(403, f"{denied[0]} may not be read with this token", code="access_denied")
    return stream.leave_out(denied)
