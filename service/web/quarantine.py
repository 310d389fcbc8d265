"""`GET /api/v1/quarantine`: the records that no reader can use, and why."""

import json
import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from service.domain.errors import Unavailable
from service.node.node import Node
from service.ports import QuarantinedRecord, QuarantinePlace
from service.web.documented import documented
from service.web.identified import identify
from service.web.problems import Problem, unavailable

router = APIRouter(prefix="/api/v1")

_SECONDS: Final = 3.0
"""How long the database may take to answer."""
_PLACE: Final = re.compile(r"([0-9]{1,17})-([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,18})")
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_FIELDS: Final[dict[str, Any]] = {
    "epoch": {"type": "integer", "description": "The number of the epoch that its offset is of."},
    "partition": {"type": "integer", "minimum": 0},
    "offset": {"type": "integer", "minimum": 0},
    "at": {"type": "string", "format": "date-time", "description": "When the log writer came to it."},
    "appended_at": {"type": ["string", "null"], "format": "date-time"},
    "reason": {"type": "string", "description": "A stable word."},
    "detail": {"type": "string"},
    "channels": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Those whose readers were told a gap in its place.",
    },
    "headers": {
        "type": ["array", "null"],
        "description": "Pairs of a name and a value; null where they are very long.",
        "items": {"type": "array", "items": _TEXT_OR_NULL, "minItems": 2, "maxItems": 2},
    },
    "key": _TEXT_OR_NULL,
    "value": {**_TEXT_OR_NULL, "description": "Its first 2 KiB, as text: what is none is replaced."},
    "value_bytes": {"type": "integer", "minimum": 0, "description": "How long the value is."},
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Quarantine",
    "required": ["records", "next"],
    "additionalProperties": False,
    "properties": {
        "records": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [*_FIELDS],
                "additionalProperties": False,
                "properties": _FIELDS,
            },
        },
        "next": {**_TEXT_OR_NULL, "description": "For `before`, where there may be more; else null."},
    },
}
_EXAMPLE: Final = {
    "records": [
        {
            "epoch": 1,
            "partition": 3,
            "offset": 1523,
            "at": "2026-01-31T12:00:01.000000Z",
            "appended_at": "2026-01-31T12:00:00.012000Z",
            "reason": "value_not_json",
            "detail": "the value is no JSON object",
            "channels": ["task:build-7"],
            "headers": [["v", "1"], ["ch", "task:build-7"]],
            "key": "shop",
            "value": "not json",
            "value_bytes": 8,
        }
    ],
    "next": None,
}


def _place(text: str | None) -> QuarantinePlace | None:
    if text is None:
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError("has to be the `next` of an answer")
    microseconds, epoch, partition, offset = map(int, found.groups())
    return QuarantinePlace(_time(microseconds), epoch, partition, offset)


class QuarantineQuery(BaseModel):
    """The parameters of `GET /quarantine`."""

    model_config = ConfigDict(extra="forbid")

    before: Annotated[
        str | None,
        AfterValidator(lambda text: (_place(text), text)[1]),
        WithJsonSchema({"type": "string", "pattern": f"^{_PLACE.pattern}$", "examples": ["1769860801000000-1-3-1523"]}),
        Field(description="The `next` of the answer before."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=100, description="The most that are answered.")] = 20


@router.get(
    "/quarantine",
    summary="Records that no reader can use",
    response_model=None,
    **documented(403, 422, schema=_SCHEMA, example=_EXAMPLE, description="The newest first, of all epochs"),
)
async def read_quarantine(request: Request, query: Annotated[QuarantineQuery, Query()]) -> dict[str, object]:
    """What was passed over by all readers, with the reason. Needs the role admin: they may hold anybody's data."""
    node: Node = request.app.state.node
    identity = await identify(request)
    if not identity.is_admin:
        raise Problem(403, "the quarantine is for the role admin", code="forbidden")
    try:
        asked = node.services.oversight.quarantined(query.limit, _place(query.before))
        records = await node.services.patience.within(_SECONDS, asked)
    except Unavailable as error:
        raise unavailable(error) from error
    last = records[-1] if len(records) == query.limit else None
    return {
        "records": [_shown(record) for record in records],
        "next": None if last is None else f"{_microseconds(last.at)}-{last.epoch}-{last.partition}-{last.offset}",
    }


def _shown(record: QuarantinedRecord) -> dict[str, object]:
    return {
        "epoch": record.epoch,
        "partition": record.partition,
        "offset": record.offset,
        "at": _text(record.at),
        "appended_at": None if record.appended_at is None else _text(record.appended_at),
        "reason": record.reason,
        "detail": record.detail,
        "channels": record.channels.split(",") if record.channels else [],
        "headers": None if record.headers is None else _headers(record.headers),
        "key": _preview(record.key),
        "value": _preview(record.value),
        "value_bytes": record.value_bytes,
    }


def _headers(stored: str) -> list[list[str | None]]:
    return [[name, None if value is None else _preview(b64decode(value))] for name, value in json.loads(stored)]


def _preview(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="replace")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
