"""A message turned into the event of one channel, or refused with what is wrong."""

from typing import Any

import pytest
from lastseen.names import RIGHTS_TYPES

from service.domain.errors import BadRequest
from service.domain.sending import event_for


@pytest.mark.parametrize(
    ("channel", "type_", "category"),
    [
        ("task:t", "task_progress_update", "task"),
        ("task:t", "hint", "task"),
        ("project:p", "project_updated", "project"),
        ("project:p", "hint", "project"),
        ("user:u", "user_notification", "user"),
        ("user:u", "hint", "user"),
        ("system", "system_maintenance_start", "system"),
        ("system", "hint", "system"),
        ("broadcast", "hint", "system"),
    ],
)
def test_a_message_goes_to_the_channel_that_was_named(channel: str, type_: str, category: str) -> None:
    event = event_for(channel, {"type": type_, "data": {"n": 1}, "id": "x"}, "sender")
    assert channel in event.channels
    assert (event.category, event.type, event.data, event.id, event.sender_id) == (
        category,
        type_,
        {"n": 1},
        "x",
        "sender",
    )


def test_a_broadcast_reaches_everyone_by_its_priority() -> None:
    assert event_for("broadcast", {"type": "hint"}, "s").priority == 8
    assert event_for("broadcast", {"type": "hint", "priority": 10}, "s").priority == 10
    assert event_for("system", {"type": "hint"}, "s").channels == ("system",)


def test_whom_it_is_about_may_be_another() -> None:
    event = event_for("user:u", {"type": "user_action", "user_id": "other", "sender_id": "bot"}, "s")
    assert (event.channels, event.user_id, event.sender_id) == (("user:u",), "other", "bot")
    assert event_for("user:u", {"type": "user_action"}, "s").user_id == "u"


@pytest.mark.parametrize(
    ("channel", "message", "code", "field"),
    [
        ("nowhere", {"type": "hint"}, "invalid_channel", "channel"),
        ("task:", {"type": "hint"}, "invalid_channel", "channel"),
        ("user:u", {"type": "task_output"}, "wrong_category", "message.type"),
        ("task:t", {"type": "user_notification"}, "wrong_category", "message.type"),
        ("task:t", {"type": "hint", "category": "user"}, "wrong_category", "message.type"),
        ("user:u", {"type": "user_online"}, "reserved_type", "message.type"),
        ("user:u", {"type": "hint", "target_user_id": "other"}, "wrong_channel", "message.target_user_id"),
        ("task:t", {"type": "hint", "task_id": "other"}, "wrong_channel", "message.task_id"),
        ("project:p", {"type": "hint", "project_id": "other"}, "wrong_channel", "message.project_id"),
        ("broadcast", {"type": "hint", "priority": 7}, "wrong_priority", "message.priority"),
        ("user:u", {}, "missing", "message.type"),
        ("user:u", {"type": []}, "string_type", "message.type"),
        ("user:u", {"type": "Hint"}, "string_pattern_mismatch", "message.type"),
        ("user:u", {"type": "hint", "data": 1}, "dict_type", "message.data"),
        ("user:u", {"type": "hint", "channels": []}, "extra_forbidden", "message.channels"),
        ("broadcast", {"type": "hint", "priority": 11}, "less_than_equal", "message.priority"),
        *[("project:p", {"type": type_}, "forbidden", "message.type") for type_ in sorted(RIGHTS_TYPES)],
    ],
)
def test_what_is_refused_and_why(channel: str, message: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        event_for(channel, message, "s")
    assert (refused.value.code, refused.value.field) == (code, field)
    assert str(refused.value)
