"""How a stream of Server-Sent Events is carried to its client."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, Generic, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from service.domain.errors import TooMany
from service.domain.identity import Identity
from service.node.event_streams import Stream
from service.node.node import Node
from service.web.door import Door
from service.web.event_stream_query import MEDIA_TYPE
from service.web.http import STALL_SECONDS
from service.web.identified import too_many
from service.web.problems import Problem
from service.web.streamed import Streamed

_HEADERS: Final = {
    "Cache-Control": "no-store",
    # What stands between must not gather it.
    "X-Accel-Buffering": "no",
}
_FULL_SECONDS: Final = 5.0
"""When somebody who found too many clients there may come again."""


class Framed(Stream, Protocol):
    """A stream that gives what is to be sent."""

    def frames(self) -> AsyncGenerator[bytes, None]:
        """In pieces, until it ends."""
        ...


S = TypeVar("S", bound=Framed)


class CarriedStream(Response, Generic[S]):
    """Opens a stream, carries it until either side ends it, and gives back what it took, in one call.

    `open_` gives None where there are as many as may be; `judge` what is said first, or raises Problem.
    """

    def __init__(
        self,
        request: Request,
        identity: Identity,
        open_: Callable[[], S | None],
        judge: Callable[[S], Awaitable[bytes]],
    ) -> None:
        super().__init__(media_type=MEDIA_TYPE)
        self._request = request
        self._identity = identity
        self._open = open_
        self._judge = judge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As a server calls it."""
        node: Node = self._request.app.state.node
        door: Door = self._request.app.state.door
        try:
            guest = door.enter(self._identity, self._request.client)
            if isinstance(guest, str):
                raise too_many(TooMany(guest, retry_after=_FULL_SECONDS))
            try:
                stream = self._open()
                if stream is None:
                    raise too_many(TooMany("Too many connections", retry_after=_FULL_SECONDS))
                try:
                    said = await self._judge(stream)
                    scope.setdefault("state", {})[STALL_SECONDS] = node.services.settings.heartbeat_timeout_seconds
                    body = Streamed(_frames(said, stream), headers=_HEADERS, media_type=MEDIA_TYPE)
                    await body(scope, receive, send)
                finally:
                    node.close_stream(stream)
            finally:
                guest.leave()
        except Problem as problem:
            await problem.response()(scope, receive, send)


async def _frames(said: bytes, stream: Framed) -> AsyncGenerator[bytes, None]:
    if said:
        yield said
    async with aclosing(stream.frames()) as frames:
        async for frame in frames:
            yield frame
