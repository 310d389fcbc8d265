"""`GET /api/v1/events`: the history of channels, in pages or as a stream."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from lastseen.channels import ID_PATTERN, parse_channel
from lastseen.envelope import TYPE_PATTERN, Timestamp
from lastseen.positions import Position
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import to_json
from starlette.types import Send

from service.domain.errors import Unavailable
from service.domain.identity import Identity
from service.domain.messages import rfc3339
from service.domain.records import Record
from service.node.event_history import Gap, HistoryAnswer
from service.node.node import Node
from service.node.past import Range, Wanted
from service.web.documented import POSITION, documented
from service.web.identified import identify
from service.web.problems import Problem, unavailable

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
MAX_NAMES: Final = 100
"""Channels, and types, that one request may name."""
NDJSON: Final = "application/x-ndjson"
LATEST: Final = "latest"
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1")


def _channel(name: str) -> str:
    return str(parse_channel(name))


def _position(token: object) -> Position:
    if not isinstance(token, str):
        raise ValueError("a position is a text")
    return Position.parse(token)


def _place_before(token: object) -> Position | Literal["latest"]:
    return LATEST if token == LATEST else _position(token)


_ID: Final = ID_PATTERN.strip("^$")
_CHANNEL_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": f"^((task|project|user):{_ID}|system|broadcast)$",
    "examples": ["project:shop"],
}
_BEFORE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [dict(POSITION), {"type": "string", "const": LATEST, "description": "The end of the log."}]
}


class EventsQuery(BaseModel):
    """The parameters of `GET /events`."""

    model_config = ConfigDict(extra="forbid")

    channel: Annotated[
        list[Annotated[str, AfterValidator(_channel), WithJsonSchema(_CHANNEL_SCHEMA)]],
        Field(min_length=1, max_length=MAX_NAMES, description="Channels that the caller may read; repeat it."),
    ]
    type: Annotated[
        list[Annotated[str, Field(pattern=TYPE_PATTERN)]],
        Field(max_length=MAX_NAMES, description="Only events of these types; repeat it. Without: of all types."),
    ] = []
    after: Annotated[
        Annotated[Position, PlainValidator(_position), WithJsonSchema(dict(POSITION))] | None,
        Field(description="What lies behind this position, in the order of the log."),
    ] = None
    before: Annotated[
        Annotated[Position | str, PlainValidator(_place_before), WithJsonSchema(_BEFORE_SCHEMA)] | None,
        Field(description="What lies at or below this position; without `after` the newest first."),
    ] = None
    since: Annotated[Timestamp | None, Field(description="What was appended at this time or later.")] = None
    until: Annotated[Timestamp | None, Field(description="What was appended before this time.")] = None
    limit: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_LIMIT,
            description=f"At most so many events: of a page {DEFAULT_LIMIT} if not given, of a stream then all.",
        ),
    ] = None

    @property
    def wanted(self) -> Wanted:
        """What is asked for."""
        return Wanted(tuple(dict.fromkeys(self.channel)), frozenset(self.type))

    @property
    def range(self) -> Range:
        """Of which part of the log."""
        before = self.before if isinstance(self.before, Position) else None
        return Range(self.after, before, _ms(self.since), _ms(self.until))


def _ms(time: datetime | None) -> int | None:
    """The first whole millisecond since 1970 that is not before a time: records are timed by these."""
    if time is None:
        return None
    return max(-((_1970 - time) // timedelta(milliseconds=1)), 0)


_DESCRIPTION = f"""The history of channels: what the log holds of them, wherever it is by now. Expired events stay.

Give `after` or `since` and the answer is the next events in the order of the log, partition by partition
(`"order": "log"`); give `before` without `after` and it is the last events, the newest first by their times of
appending (`"order": "newest_first"`). `before=latest` begins at the end of the log.

`next`, given as `after`, leads on to newer events; `previous`, given as `before`, to older ones, and is null where
there are none. Forward, you have everything once `next` equals `watermark`; a page may hold fewer events than
`limit` before that, even none. Subscribe with `after=watermark`, and nothing falls between history and live events.

`gap` says that what lies between two positions will not come: `retention`, `lost`, or `epoch` for a position of
another log. It stands before what follows it in the direction of reading.

With `Accept: {NDJSON}` the range as it stands now is streamed in the order of the log: an event a line, `{{"gap": …}}`
where something is missing, and at last `{{"watermark": …}}`. A stream without that last line has broken off."""

_GAP: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["requested", "earliest", "reason"],
    "additionalProperties": False,
    "properties": {
        "requested": POSITION,
        "earliest": POSITION,
        "reason": {"type": "string", "enum": ["retention", "epoch", "lost"]},
    },
}
_PAGE: Final[dict[str, Any]] = {
    "type": "object",
    "title": "EventsPage",
    "required": ["order", "events", "next", "previous", "watermark"],
    "additionalProperties": False,
    "properties": {
        "gap": _GAP,
        "order": {"type": "string", "enum": ["log", "newest_first"]},
        "events": {"type": "array", "items": {"$ref": "#/components/schemas/StoredEvent"}},
        "next": POSITION,
        "previous": {"anyOf": [POSITION, {"type": "null"}]},
        "watermark": POSITION,
    },
}
_EVENT_EXAMPLE: Final[dict[str, Any]] = {
    "id": "6f1c0e",
    "type": "task_progress_update",
    "category": "task",
    "task_id": "build-7",
    "project_id": "shop",
    "user_id": "ann",
    "sender_id": "ci",
    "target_user_id": "ann",
    "priority": 5,
    "ttl": 3600,
    "timestamp": "2026-01-31T12:00:00.000000Z",
    "channels": ["task:build-7", "project:shop", "user:ann"],
    "data": {"percent": 40},
    "partition": 1,
    "offset": 88,
    "appended_at": "2026-01-31T12:00:00.012Z",
}
_EXAMPLE: Final = {
    "order": "log",
    "events": [_EVENT_EXAMPLE],
    "next": "k3f9:0=1523,1=88",
    "previous": "k3f9:0=1523,1=80",
    "watermark": "k3f9:0=1523,1=88",
}
_LINES: Final = {
    "schema": {"type": "string", "description": "JSON objects, one a line."},
    "example": to_json(_EVENT_EXAMPLE).decode() + '\n{"watermark":"k3f9:0=1523,1=88"}\n',
}


@router.get(
    "/events",
    summary="Read the history",
    description=_DESCRIPTION,
    response_model=None,
    **documented(
        403, 422, 503, schema=_PAGE, example=_EXAMPLE, description="A page, or a stream", also={NDJSON: _LINES}
    ),
)
async def read_events(request: Request, query: Annotated[EventsQuery, Query()]) -> Response:
    """A page of history, or the stream of a range, as `Accept` has it."""
    node: Node = request.app.state.node
    identity = await identify(request)
    wanted, range_ = query.wanted, query.range
    await _check_rights(node, identity, wanted)
    try:
        if _wants_lines(request):
            lines = _lines(node, identity, wanted, range_, query.limit)
            return _Lines(await anext(lines), lines)
        limit = query.limit or DEFAULT_LIMIT
        if query.before is not None and query.after is None:
            return _page("newest_first", await node.history.backward(wanted, range_, limit))
        return _page("log", await node.history.forward(wanted, range_, limit))
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
    accepted = (part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(","))
    return NDJSON in accepted


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
    async with aclosing(node.history.stream(wanted, range_, limit)) as parts:
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


class _Lines(StreamingResponse):
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
