"""The event as producers give it, validated once, and as the log carries it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictInt,
    model_validator,
)
from pydantic_core import PydanticCustomError, to_json

from lastseen.channels import BROADCAST, ID_PATTERN, SYSTEM
from lastseen.names import (
    BROADCAST_PRIORITY,
    CATEGORY_OF,
    MEMBERSHIP_TYPES,
    PRESENCE_TYPES,
    Category,
    Role,
)

TYPE_PATTERN: Final = r"^[a-z][a-z0-9_]{0,63}$"
MAX_EVENT_BYTES: Final = 256 * 1024
MAX_TTL_SECONDS: Final = 10 * 366 * 86_400

_ID: Final = re.compile(ID_PATTERN)


def new_event_id() -> str:
    """An id that no other event has. Made once per event, so that a retry is recognised."""
    return uuid4().hex


_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d")


def _rfc3339(value: object) -> object:
    # pydantic alone would also take a number, or a text of digits, for seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.match(value)):
        return value
    raise PydanticCustomError("timestamp", "a time is an RFC 3339 text with its zone, such as 2026-01-31T12:00:00Z")


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise PydanticCustomError("timestamp", "the time lies outside the years 1 to 9999") from error


Id = Annotated[str, Field(pattern=ID_PATTERN)]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_rfc3339), AfterValidator(_utc)]


def _find_nul(value: JsonValue, path: str) -> str | None:
    """The path of the first text below `value` that holds a NUL character."""
    if isinstance(value, str):
        return path if "\0" in value else None
    children: Iterator[tuple[str, JsonValue]]
    if isinstance(value, Mapping):
        for key in value:
            if "\0" in key:
                return f"{path}.{key!r}"
        children = ((f"{path}.{key}", child) for key, child in value.items())
    elif isinstance(value, Sequence):
        children = ((f"{path}[{index}]", child) for index, child in enumerate(value))
    else:
        return None
    return next((found for p, child in children if (found := _find_nul(child, p)) is not None), None)


class Event(BaseModel):
    """One event, as a producer publishes it.

    `category` may be left out where the type is one that the protocol names. A task event needs
    `task_id`, a project event `project_id`, a user event `user_id` (or `target_user_id`). Anything the
    service derives (`channels`, `partition`, `offset`) is not accepted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: Id = Field(default_factory=new_event_id)
    type: Annotated[str, Field(pattern=TYPE_PATTERN)]
    category: Category
    task_id: Id | None = None
    project_id: Id | None = None
    user_id: Id | None = None
    sender_id: Id | None = None
    target_user_id: Id | None = None
    priority: Annotated[StrictInt, Field(ge=0, le=10)] = 5
    ttl: Annotated[StrictInt, Field(ge=1, le=MAX_TTL_SECONDS)] | None = None
    timestamp: Timestamp = Field(default_factory=lambda: datetime.now(UTC))
    data: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _fill_category(cls, fields: Any) -> Any:
        if isinstance(fields, Mapping) and fields.get("category") is None:
            type_ = fields.get("type")
            known = CATEGORY_OF.get(type_) if isinstance(type_, str) else None
            if known is not None:
                return {**fields, "category": known}
            return {key: value for key, value in fields.items() if key != "category"}
        return fields

    @model_validator(mode="after")
    def _agree(self) -> "Event":
        known = CATEGORY_OF.get(self.type)
        if known is not None and known is not self.category:
            raise _error("category", f"{self.type} is of category {known.value}, not {self.category.value}")
        match self.category:
            case Category.TASK if self.task_id is None:
                raise _error("task_id", "a task event needs task_id")
            case Category.PROJECT if self.project_id is None:
                raise _error("project_id", "a project event needs project_id")
            case Category.USER if self.user_id is None and self.target_user_id is None:
                raise _error("user_id", "a user event needs user_id or target_user_id")
            case _:
                pass
        if self.type in MEMBERSHIP_TYPES:
            member = self.data.get("user_id")
            if not (isinstance(member, str) and _ID.fullmatch(member)):
                raise _error("data.user_id", f"{self.type} needs data.user_id, the member's id")
        # Where readers would pass it over, its producer would believe that somebody is a member now.
        if self.type == "project_member_added" and self.data.get("role") not in (None, *Role):
            raise _error("data.role", f"data.role is one of {', '.join(Role)}, and {Role.MEMBER} where it is left out")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that carry this event: at most one of each kind."""
        match self.category:
            case Category.TASK:
                found = [f"task:{self.task_id}"]
                if self.project_id is not None:
                    found.append(f"project:{self.project_id}")
                if self.user_id is not None:
                    found.append(f"user:{self.user_id}")
                return tuple(found)
            case Category.PROJECT:
                if self.type in MEMBERSHIP_TYPES:
                    return (f"project:{self.project_id}", f"user:{self.data['user_id']}")
                return (f"project:{self.project_id}",)
            case Category.USER:
                mine = f"user:{self.target_user_id or self.user_id}"
                if self.type in PRESENCE_TYPES and self.project_id is not None:
                    return (f"project:{self.project_id}", mine)
                return (mine,)
            case Category.SYSTEM:
                return (SYSTEM, BROADCAST) if self.priority >= BROADCAST_PRIORITY else (SYSTEM,)

    @property
    def key(self) -> str:
        """The ordering unit: project, else task, else the user whom it reaches, else `system`."""
        return self.project_id or self.task_id or self.target_user_id or self.user_id or SYSTEM

    def to_json(self) -> bytes:
        """The event's JSON as clients get it, less `partition` and `offset`.

        Raises ValueError naming the field when a text holds a NUL character.
        """
        value = to_json(
            {
                "id": self.id,
                "type": self.type,
                "category": self.category.value,
                "task_id": self.task_id,
                "project_id": self.project_id,
                "user_id": self.user_id,
                "sender_id": self.sender_id,
                "target_user_id": self.target_user_id,
                "priority": self.priority,
                "ttl": self.ttl,
                "timestamp": self.timestamp.isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "channels": self.channels,
                "data": self.data,
            }
        )
        # The escape may also be the tail of an escaped backslash, so a hit only starts the real search.
        if b"\\u0000" in value and (path := _find_nul(self.data, "data")) is not None:
            raise NulCharacter(path)
        return value


class NulCharacter(ValueError):
    """A text holds a NUL character, which a Postgres text cannot. `field` is its path."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} holds a NUL character (U+0000): send such bytes as base64")
        self.field = field


def _error(
    field: Literal["category", "task_id", "project_id", "user_id", "data.user_id", "data.role"], message: str
) -> Exception:
    return PydanticCustomError("envelope", "{message}", {"field": field, "message": message})
