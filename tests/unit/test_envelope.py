import json
from datetime import UTC, datetime

import pytest
from lastseen.envelope import Event, NulCharacter
from lastseen.field_errors import field_errors
from lastseen.record import EventTooLarge, encode
from pydantic import ValidationError


def event(**fields: object) -> Event:
    return Event.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "channels", "key"),
    [
        ({"type": "task_output", "task_id": "t"}, ["task:t"], "t"),
        ({"type": "task_output", "task_id": "t", "project_id": "p"}, ["task:t", "project:p"], "p"),
        (
            {"type": "task_output", "task_id": "t", "project_id": "p", "user_id": "u"},
            ["task:t", "project:p", "user:u"],
            "p",
        ),
        ({"type": "project_updated", "project_id": "p", "user_id": "u"}, ["project:p"], "p"),
        (
            {"type": "project_member_added", "project_id": "p", "user_id": "boss", "data": {"user_id": "new"}},
            ["project:p", "user:new"],
            "p",
        ),
        ({"type": "user_notification", "user_id": "u"}, ["user:u"], "u"),
        ({"type": "user_notification", "user_id": "u", "target_user_id": "v"}, ["user:v"], "v"),
        ({"type": "user_online", "user_id": "u", "project_id": "p"}, ["project:p", "user:u"], "p"),
        ({"type": "system_security_alert"}, ["system"], "system"),
        ({"type": "system_security_alert", "priority": 7}, ["system"], "system"),
        ({"type": "system_security_alert", "priority": 8}, ["system", "broadcast"], "system"),
        ({"type": "deployed", "category": "project", "project_id": "p"}, ["project:p"], "p"),
    ],
)
def test_an_event_is_routed_by_its_category(fields: dict[str, object], channels: list[str], key: str) -> None:
    made = event(**fields)
    assert list(made.channels) == channels
    assert made.key == key
    record = encode(made)
    assert dict(record.headers)["ch"] == ",".join(channels).encode()
    assert json.loads(record.value)["channels"] == channels


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "type"),
        ({"type": "deployed"}, "category"),
        ({"type": "deployed", "category": "weather"}, "category"),
        ({"type": "task_output", "category": "project", "task_id": "t", "project_id": "p"}, "category"),
        ({"type": "Task_output", "category": "task", "task_id": "t"}, "type"),
        ({"type": "x" * 65, "category": "system"}, "type"),
        ({"type": 5, "category": "system"}, "type"),
        ({"type": "task_output"}, "task_id"),
        ({"type": "project_updated"}, "project_id"),
        ({"type": "user_action"}, "user_id"),
        ({"type": "project_member_added", "project_id": "p"}, "data.user_id"),
        ({"type": "project_member_added", "project_id": "p", "data": {"user_id": "a b"}}, "data.user_id"),
        ({"type": "project_member_added", "project_id": "p", "data": {"user_id": "a", "role": "boss"}}, "data.role"),
        ({"type": "project_member_added", "project_id": "p", "data": {"user_id": "a", "role": ["owner"]}}, "data.role"),
        ({"type": "task_output", "task_id": "a,b"}, "task_id"),
        ({"type": "task_output", "task_id": "a\0b"}, "task_id"),
        ({"type": "task_output", "task_id": ""}, "task_id"),
        ({"type": "task_output", "task_id": "t\n"}, "task_id"),
        ({"type": "task_output", "task_id": "t", "id": "é"}, "id"),
        ({"type": "task_output", "task_id": "t", "priority": 11}, "priority"),
        ({"type": "task_output", "task_id": "t", "priority": "5"}, "priority"),
        ({"type": "task_output", "task_id": "t", "priority": True}, "priority"),
        ({"type": "task_output", "task_id": "t", "ttl": 0}, "ttl"),
        ({"type": "task_output", "task_id": "t", "timestamp": 1700000000}, "timestamp"),
        ({"type": "task_output", "task_id": "t", "timestamp": "1700000000"}, "timestamp"),
        ({"type": "task_output", "task_id": "t", "timestamp": "2026-01-31T12:00:00"}, "timestamp"),
        ({"type": "task_output", "task_id": "t", "timestamp": "yesterday"}, "timestamp"),
        ({"type": "task_output", "task_id": "t", "timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"type": "task_output", "task_id": "t", "data": []}, "data"),
        ({"type": "task_output", "task_id": "t", "data": {"x": float("nan")}}, "data.x.float"),
        ({"type": "task_output", "task_id": "t", "offset": 3}, "offset"),
        ({"type": "task_output", "task_id": "t", "channels": ["system"]}, "channels"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        event(**fields)
    assert field in {error.field for error in field_errors(caught.value)}


def test_times_are_written_in_utc() -> None:
    made = event(type="task_output", task_id="t", timestamp="2026-01-31T12:00:00.5+02:00")
    assert made.timestamp == datetime(2026, 1, 31, 10, 0, 0, 500_000, UTC)
    assert json.loads(made.to_json())["timestamp"] == "2026-01-31T10:00:00.500000Z"


@pytest.mark.parametrize(
    ("data", "path"),
    [({"a": "x\0"}, "data.a"), ({"a": [1, {"b": "\0"}]}, "data.a[1].b"), ({"a": {"k\0": 1}}, r"data.a.'k\x00'")],
)
def test_a_nul_character_is_named_by_its_path(data: dict[str, object], path: str) -> None:
    with pytest.raises(NulCharacter) as caught:
        event(type="task_output", task_id="t", data=data).to_json()
    assert caught.value.field == path


def test_the_text_of_the_escape_itself_is_no_nul_character() -> None:
    made = event(type="task_output", task_id="t", data={"text": r"\u0000"})
    assert json.loads(made.to_json())["data"]["text"] == r"\u0000"


def test_an_event_over_the_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(EventTooLarge, match="at most 1000"):
        encode(event(type="task_output", task_id="t", data={"text": "x" * 1000}), 1000)


def test_each_event_has_an_id_of_its_own() -> None:
    assert event(type="system_security_alert").id != event(type="system_security_alert").id
