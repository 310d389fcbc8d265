"""`GET /api/v1/events`: the history of channels, in pages or as a stream."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic_core import to_json
from starlette.types import Send

from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.domain.messages import rfc3339
from service.domain.records import Record
from service.node.event_history import Gap, HistoryAnswer
from service.node.node import Node
from service.node.past import Range, Wanted
from service.web.documented import documented
from service.web.history_query import DEFAULT_LIMIT, DESCRIPTION, EXAMPLE, LINES, NDJSON, PAGE, EventsQuery
from service.web.identified import identify
from service.web.problems import Problem, unavailable
from service.web.streamed import Streamed

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1")


@router.get(
    "/events",
    summary="Read the history",
    description=DESCRIPTION,
    response_model=None,
    **documented(403, 422, 503, schema=PAGE, example=EXAMPLE, description="A page, or a stream", also={NDJSON: LINES}),
)
async def read_events(request: Request, query: Annotated[EventsQuery, Query()]) -> Response:
    """A page of history, or the stream of a range, as `Accept` has it."""
    node: Node = request.app.state.node
    identity = await identify(request)
    wanted = replace(query.wanted, contradicts=node.services.access.contradicts, who=identity.user_id)
    range_ = query.range
    await _check_rights(node, identity, wanted)
    try:
        if _wants_lines(request):
            lines = _lines(node, identity, wanted, range_, query.limit)
            return _Lines(await anext(lines), lines)
        limit = query.limit or DEFAULT_LIMIT
        if query.before is not None and query.after is None:
            return _page("newest_first", await node.services.history.backward(wanted, range_, limit))
        return _page("log", await node.services.history.forward(wanted, range_, limit))
    except Unavailable as error:
        raise unavailable(error) from error
    except _RightEnded as error:
        raise Problem(403, str(error), code="access_denied") from error


class _RightEnded(Exception):
    """The caller may not read on."""


async def _check_rights(node: Node, identity: Identity, wanted: Wanted) -> None:
    """Raises Problem, naming the first channel that may not be read, or of which that can't be told now."""
    for name, verdict in (await node.services.access.judge(identity, wanted.channels)).items():
        if isinstance(verdict, Unavailable):
            raise unavailable(verdict, f"{name}: ") from verdict
        if not verdict:
            raise Problem(403, f"{name} may not be read with this token", code="access_denied")


def _wants_lines(request: Request) -> bool:
    """Whether lines are named, and nothing that a page would do for is liked better."""
    liked: dict[str, float] = {}
    for part in request.headers.get("accept", "").split(","):
        media, *parameters = (one.strip().lower() for one in part.split(";"))
        quality = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
        try:
            liked[media] = float(quality)
        except ValueError:
            liked[media] = 0.0
    lines = liked.get(NDJSON, 0.0)
    return lines > 0 and lines >= liked.get("application/json", 0.0)


def _page(order: str, answer: HistoryAnswer) -> Response:
    # The payloads are JSON already, so they are put in as they are.
    fields = [
        b'"order":' + to_json(order),
        b'"events":[' + b",".join(map(_event, answer.records)) + b"]",
        b'"next":' + to_json(answer.next),
        b'"previous":' + to_json(answer.previous),
        b'"watermark":' + to_json(answer.watermark),
    ]
    if answer.gap is not None:
        fields.insert(0, _gap(answer.gap))
    return Response(b"{" + b",".join(fields) + b"}", media_type="application/json")


def _event(record: Record) -> bytes:
    """The event with its place and time spliced in last, so that keys of those names in the value lose."""
    return b'%b,"partition":%d,"offset":%d,"appended_at":"%b"}' % (
        record.value[:-1],
        record.partition,
        record.offset,
        rfc3339(record.appended_at).encode(),
    )


def _gap(gap: Gap) -> bytes:
    return b'"gap":' + to_json({"requested": gap.requested, "earliest": gap.earliest, "reason": gap.reason})


async def _lines(
    node: Node, identity: Identity, wanted: Wanted, range_: Range, limit: int | None
) -> AsyncGenerator[bytes, None]:
    """The lines of a stream in chunks. Raises _RightEnded, Unavailable."""
    services = node.services
    async with aclosing(node.services.history.stream(wanted, range_, limit)) as parts:
        async for part in parts:
            is_good = identity.expires_at * 1000 > services.clock.now_ms()
            if not is_good or not all(services.access.still_may(identity, name) for name in wanted.channels):
                raise _RightEnded(f"the right of {identity.user_id} to read this has ended")
            if isinstance(part, str):
                yield b'{"watermark":' + to_json(part) + b"}\n"
            elif isinstance(part, Gap):
                yield b"{" + _gap(part) + b"}\n"
            else:
                yield _joined(part)


def _joined(records: Sequence[Record]) -> bytes:
    return b"".join(_event(record) + b"\n" for record in records)


class _Lines(Streamed):
    """A stream that breaks off, visibly for the client, where it can't go on."""

    def __init__(self, first: bytes, lines: AsyncGenerator[bytes, None]) -> None:
        super().__init__(lines, media_type=NDJSON)
        self._first = first
        self._lines = lines

    async def stream_response(self, send: Send) -> None:
        """Send chunk by chunk, each when the client has taken the one before."""
        async with aclosing(self._lines) as lines:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
                async for chunk in lines:
                    if chunk:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except (Unavailable, _RightEnded) as error:
                # Without the end of the body the server cuts the connection.
                _log.warning("a stream of history broke off: %s", error)
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
