"""What `send-to-user` and `send-to-channel` append: a message turned into the event of one channel."""

from collections.abc import Mapping
from typing import Any, Final

from lastseen.channels import BROADCAST, SYSTEM, parse_channel
from lastseen.envelope import Event
from lastseen.field_errors import field_errors
from lastseen.names import BROADCAST_PRIORITY, CATEGORY_OF, PRESENCE_TYPES, RIGHTS_TYPES, Category
from pydantic import ValidationError

from service.domain.errors import BadRequest

_CATEGORY_OF_KIND: Final = {
    "task": Category.TASK,
    "project": Category.PROJECT,
    "user": Category.USER,
    SYSTEM: Category.SYSTEM,
    BROADCAST: Category.SYSTEM,
}
_FIELD_OF_KIND: Final = {"task": "task_id", "project": "project_id", "user": "target_user_id"}


def event_for(channel: str, message: Mapping[str, Any], sender: str) -> Event:
    """The event that carries `message` to `channel`; `sender` is its `sender_id` unless it names another.

    Raises BadRequest, naming the field: for another category's type, for a type that changes rights or tells of
    presence, for an id that contradicts the channel.
    """
    try:
        kind, id_ = parse_channel(channel)
    except ValueError as error:
        raise BadRequest(str(error), code="invalid_channel", field="channel") from error
    type_ = message.get("type")
    named = type_ if isinstance(type_, str) else ""
    if named in RIGHTS_TYPES:
        raise BadRequest(
            f"{type_} changes rights, and is not sent as a message: append it with POST /api/v1/events",
            code="forbidden",
            field="message.type",
        )
    if named in PRESENCE_TYPES:
        raise BadRequest(
            f"{type_} is told by the service itself: send a type of your own",
            code="reserved_type",
            field="message.type",
        )
    category = _CATEGORY_OF_KIND[kind]
    known = CATEGORY_OF.get(named)
    if known not in (None, category) or message.get("category") not in (None, category):
        raise BadRequest(
            f"{channel} carries {category} events, and {type_} is of category {known or message.get('category')}: "
            f"send a {category} type, or a name of your own",
            code="wrong_category",
            field="message.type",
        )
    fields = {"sender_id": sender, **message, "category": category}
    if (field := _FIELD_OF_KIND.get(kind)) is not None:
        if fields.get(field) not in (None, id_):
            raise BadRequest(
                f"{field} contradicts {channel}: leave it out", code="wrong_channel", field=f"message.{field}"
            )
        fields[field] = id_
    if kind == "user" and fields.get("user_id") is None:
        fields["user_id"] = id_
    if kind == BROADCAST:
        fields.setdefault("priority", BROADCAST_PRIORITY)
    event = _event(fields)
    if channel not in event.channels:
        raise BadRequest(
            f"{BROADCAST} carries events with priority {BROADCAST_PRIORITY} to 10, this one has {event.priority}",
            code="wrong_priority",
            field="message.priority",
        )
    return event


def _event(fields: Mapping[str, Any]) -> Event:
    try:
        return Event.model_validate(fields)
    except ValidationError as error:
        first = field_errors(error)[0]
        field = f"message.{first.field}" if first.field else "message"
        raise BadRequest(first.detail, code=first.code, field=field) from error
