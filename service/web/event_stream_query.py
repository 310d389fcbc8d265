"""What can be asked of `GET /api/v1/events/stream`, and what is answered: its parameters, its words."""

from typing import Annotated, Any, Final, Self

from fastapi import Header
from lastseen.envelope import Timestamp
from lastseen.positions import Position
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from service.domain.requests import MAX_LAST, MAX_LAST_CHANNELS
from service.node.past import Wanted
from service.node.starts import Start
from service.web.documented import POSITION
from service.web.history_query import Channels, PositionToken, Types, ms_of

MEDIA_TYPE: Final = "text/event-stream"


_OR_NOTHING: Final = f"^$|{POSITION['pattern']}"


def _last_seen(token: object) -> Position | None:
    """An empty one means none: so a client sends it that has seen nothing."""
    return Position.parse(token) if isinstance(token, str) and token else None


LastEventId = Annotated[
    Annotated[Position | None, PlainValidator(_last_seen), WithJsonSchema({**POSITION, "pattern": _OR_NOTHING})],
    Header(alias="Last-Event-ID", description="The last `id` that came: it goes on behind that, whatever the query."),
]


class EventStreamQuery(BaseModel):
    """The parameters of `GET /events/stream`."""

    model_config = ConfigDict(extra="forbid")

    channel: Channels
    type: Types = []
    after: Annotated[PositionToken | None, Field(description="Begins behind this position.")] = None
    since: Annotated[Timestamp | None, Field(description="Begins with what was appended at this time or later.")] = None
    last: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_LAST,
            description=f"Begins with so many of each channel's last events (at most {MAX_LAST_CHANNELS} channels).",
        ),
    ] = None
    ticket: Annotated[
        str | None, Field(description="Instead of a token: from POST /api/v1/websocket/ticket, once.")
    ] = None
    token: Annotated[str | None, Field(description="The access token, for who can't send headers.")] = None

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        given = [name for name in ("after", "since", "last") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} name two starts: give one of them")
        if self.last is not None and len(self.channel) > MAX_LAST_CHANNELS:
            raise ValueError(f"at most {MAX_LAST_CHANNELS} channels with last")
        return self

    @property
    def wanted(self) -> Wanted:
        """What is asked for."""
        return Wanted(tuple(dict.fromkeys(self.channel)), frozenset(self.type))

    @property
    def start(self) -> Start | None:
        """From where on; None for what comes from now on."""
        if self.after is None and self.since is None and self.last is None:
            return None
        return Start(self.after, ms_of(self.since), self.last)


DESCRIPTION: Final = """The events of channels as Server-Sent Events, for the browser's `EventSource` and for `curl -N`.

Each event comes without a name (`onmessage`), its `data` the event and its `id` the position of the stream behind it.
What the service says itself has a name and the JSON of the socket's message: `caught_up`, `gap` (before what follows
it), `unsubscribed` (a right has ended), `error` (with `retry_after` it goes on by itself; `token_expired` ends it).
Keep-alives are an `id` alone.

It begins behind `Last-Event-ID`, else as `after`, `since` or `last` say, else now. A client that lost it comes back
with the last `id` and misses nothing. It ends when no channel is left; a new attempt is then refused."""
SENT: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "title": "ServerSentEvent",
        "description": "One event of the stream: its fields, as the HTML standard names them.",
        "additionalProperties": False,
        "properties": {
            "id": POSITION,
            "event": {"type": "string", "enum": ["message", "caught_up", "gap", "unsubscribed", "error"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
            "retry": {"type": "integer", "minimum": 0, "description": "Milliseconds."},
        },
    },
    "example": {
        "id": "k3f9:0=1523,1=89",
        "data": '{"id":"6f1c0e","type":"project_updated","project_id":"shop","partition":1,"offset":89}',
    },
}
