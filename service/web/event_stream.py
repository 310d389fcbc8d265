"""`GET /api/v1/events/stream`: the events of channels as Server-Sent Events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.domain.errors import TooMany
from service.domain.identity import Identity
from service.node.event_stream import EventStream
from service.node.node import Node
from service.node.starts import Start
from service.web.credentials import given
from service.web.documented import documented
from service.web.door import Door
from service.web.event_stream_query import DESCRIPTION, MEDIA_TYPE, SENT, EventStreamQuery, LastEventId
from service.web.http import STALL_SECONDS
from service.web.identified import identify, too_many
from service.web.problems import Problem

PATH: Final = "/api/v1/events/stream"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # What stands between must not gather it.
    "X-Accel-Buffering": "no",
}
_FULL_SECONDS: Final = 5.0
"""When somebody who found too many clients there may come again."""

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
    return _Carried(request, identity, query, None if last_event_id is None else Start(after=last_event_id))


class _Carried(Response):
    """Opens a stream, carries it until either side ends it, and gives back what it took, in one call."""

    def __init__(self, request: Request, identity: Identity, query: EventStreamQuery, resumed: Start | None) -> None:
        super().__init__(media_type=MEDIA_TYPE)
        self._request = request
        self._identity = identity
        self._query = query
        self._resumed = resumed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As a server calls it."""
        node: Node = self._request.app.state.node
        door: Door = self._request.app.state.door
        try:
            guest = door.enter(self._identity, self._request.client)
            if isinstance(guest, str):
                raise too_many(TooMany(guest, retry_after=_FULL_SECONDS))
            try:
                stream = node.open_stream(self._identity, self._query.wanted, self._resumed or self._query.start)
                if stream is None:
                    raise too_many(TooMany("Too many connections", retry_after=_FULL_SECONDS))
                try:
                    said = await self._judge(stream)
                    scope.setdefault("state", {})[STALL_SECONDS] = node.services.settings.heartbeat_timeout_seconds
                    body = StreamingResponse(_frames(said, stream), headers=_HEADERS, media_type=MEDIA_TYPE)
                    await body(scope, receive, send)
                finally:
                    node.close_stream(stream)
            finally:
                guest.leave()
        except Problem as problem:
            await problem.response()(scope, receive, send)

    async def _judge(self, stream: EventStream) -> bytes:
        """What is said of channels that may not be read. Raises Problem where it can't be a stream without them.

        Whoever comes back names the channels that he began with, and of those he may have lost some: he goes on
        with the others.
        """
        denied = (await stream.judge()).denied
        if denied and (self._resumed is None or len(denied) == len(stream.channels)):
            raise Problem(403, f"{denied[0]} may not be read with this token", code="access_denied")
        return stream.leave_out(denied)


async def _frames(said: bytes, stream: EventStream) -> AsyncGenerator[bytes, None]:
    if said:
        yield said
    async with aclosing(stream.frames()) as frames:
        async for frame in frames:
            yield frame
