"""What can be asked of `GET /api/v1/events`, and what is answered: its parameters, its schemas, its words."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from lastseen.channels import ID_PATTERN, parse_channel
from lastseen.envelope import TYPE_PATTERN, Timestamp
from lastseen.positions import Position
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import to_json

from service.domain.requests import MAX_LAST
from service.node.past import Range, Wanted
from service.web.documented import POSITION

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
MAX_NAMES: Final = 100
"""Channels, and types, that one request may name."""
NDJSON: Final = "application/x-ndjson"
LATEST: Final = "latest"
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)


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


Channels = Annotated[
    list[Annotated[str, AfterValidator(_channel), WithJsonSchema(_CHANNEL_SCHEMA)]],
    Field(min_length=1, max_length=MAX_NAMES, description="Channels that the caller may read; repeat it."),
]
Types = Annotated[
    list[Annotated[str, Field(pattern=TYPE_PATTERN)]],
    Field(max_length=MAX_NAMES, description="Only events of these types; repeat it. Without: of all types."),
]
PositionToken = Annotated[Position, PlainValidator(_position), WithJsonSchema(dict(POSITION))]


class EventsQuery(BaseModel):
    """The parameters of `GET /events`."""

    model_config = ConfigDict(extra="forbid")

    channel: Channels
    type: Types = []
    after: Annotated[
        PositionToken | None, Field(description="What lies behind this position, in the order of the log.")
    ] = None
    before: Annotated[
        Annotated[Position | str, PlainValidator(_place_before), WithJsonSchema(_BEFORE_SCHEMA)] | None,
        Field(description="What lies at or below this position; without `after` the newest first."),
    ] = None
    since: Annotated[Timestamp | None, Field(description="What was appended at this time or later.")] = None
    until: Annotated[Timestamp | None, Field(description="What was appended before this time.")] = None
    last: Annotated[
        int | None,
        Field(ge=1, le=MAX_LAST, description="The last so many events, in the order of the log, and what follows."),
    ] = None
    limit: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_LIMIT,
            description=f"At most so many events: of a page {DEFAULT_LIMIT} if not given, of a stream then all.",
        ),
    ] = None

    @model_validator(mode="after")
    def _check_last(self) -> Self:
        others = [name for name in ("after", "before", "since", "until") if getattr(self, name) is not None]
        if self.last is not None and others:
            raise ValueError(f"last says by itself where to begin: leave out {' and '.join(others)}, or last")
        return self

    @property
    def wanted(self) -> Wanted:
        """What is asked for."""
        return Wanted(tuple(dict.fromkeys(self.channel)), frozenset(self.type))

    @property
    def range(self) -> Range:
        """Of which part of the log."""
        before = self.before if isinstance(self.before, Position) else None
        return Range(self.after, before, ms_of(self.since), ms_of(self.until), self.last)


def ms_of(time: datetime | None) -> int | None:
    """The first whole millisecond since 1970 that is not before a time: records are timed by these."""
    if time is None:
        return None
    return max(-((_1970 - time) // timedelta(milliseconds=1)), 0)


DESCRIPTION: Final = f"""What the log holds of channels, wherever it is by now. Expired events are there too.

Give `after`, `since` or `last` and the answer is the next events in the order of the log, partition by partition
(`"order": "log"`); give `before` without `after` and it is the last events, the newest first by their times of
appending (`"order": "newest_first"`). `before=latest` begins at the end of the log.

`next`, given as `after`, leads on to newer events; `previous`, given as `before`, to older ones, and is null where
there are none. Forward, you have everything once `next` equals `watermark`; a page may hold fewer events than
`limit` before that, even none. Subscribe with `after=watermark`, and nothing falls between history and live events.

`gap` says that what lies between two positions will not come: `retention`, `lost`, or `epoch` for a position of
another log, `quarantine` for a record that can't be used. It stands before what follows it in the direction of reading.

With `Accept: {NDJSON}` the range as it stands now is streamed in the order of the log: an event a line, `{{"gap": …}}`
where something is missing, and at last `{{"watermark": …}}`. A stream without that last line has broken off."""

_GAP: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["requested", "earliest", "reason"],
    "additionalProperties": False,
    "properties": {
        "requested": POSITION,
        "earliest": POSITION,
        "reason": {"type": "string", "enum": ["retention", "epoch", "lost", "quarantine"]},
    },
}
PAGE: Final[dict[str, Any]] = {
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
EXAMPLE: Final = {
    "order": "log",
    "events": [_EVENT_EXAMPLE],
    "next": "k3f9:0=1523,1=88",
    "previous": "k3f9:0=1523,1=80",
    "watermark": "k3f9:0=1523,1=88",
}
LINES: Final = {
    "schema": {"type": "string", "description": "JSON objects, one a line."},
    "example": to_json(_EVENT_EXAMPLE).decode() + '\n{"watermark":"k3f9:0=1523,1=88"}\n',
}
