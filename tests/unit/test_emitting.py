"""From a call of an emitter to its record, without Kafka."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from lastseen.emitting import Emitter, Fields, Records, addresses, checked_timeout
from lastseen.envelope import MAX_EVENT_BYTES
from lastseen.errors import AccessDenied, InvalidEvent, LastseenError, LogUnavailable, OtherProject, Rejected
from lastseen.linger import checked_linger
from lastseen.names import ProjectEvents, SystemEvents, TaskEvents, UserEvents
from lastseen.record import EventTooLarge, NewRecord
from lastseen.refusals import explain


class Drawer(Emitter[NewRecord]):
    """An emitter whose answer is the record itself."""

    def __init__(self) -> None:
        self.records = Records()

    def _emit(self, fields: Fields) -> NewRecord:
        return self.records.make(fields)[1]


def body(record: NewRecord) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(record.value)
    return value


def test_each_kind_of_event_has_its_key_and_its_channels() -> None:
    drawer = Drawer()
    found = [
        (record.key.decode(), dict(record.headers)["ch"].decode(), body(record)["category"], body(record)["type"])
        for record in (
            drawer.emit_task_event(TaskEvents.STARTED, "t", {"command": ["make"]}, "u", "p"),
            drawer.emit_task_event("own_step", "alone"),
            drawer.emit_project_event(ProjectEvents.UPDATED, "p", {"name": "x"}, "u"),
            drawer.emit_project_event(ProjectEvents.MEMBER_ADDED, "p", {"user_id": "m", "role": "member"}, "u"),
            drawer.emit_system_event(SystemEvents.SECURITY_ALERT),
            drawer.emit_system_event(SystemEvents.MAINTENANCE_START, {"at": "noon"}, 8),
            drawer.emit_user_event(UserEvents.NOTIFICATION, "u", {"text": "hi"}),
            drawer.emit_user_event(UserEvents.ONLINE, "u", project_id="p"),
        )
    ]
    assert found == [
        ("p", "task:t,project:p,user:u", "task", "task_started"),
        ("alone", "task:alone", "task", "own_step"),
        ("p", "project:p", "project", "project_updated"),
        ("p", "project:p,user:m", "project", "project_member_added"),
        ("system", "system", "system", "system_security_alert"),
        ("system", "system,broadcast", "system", "system_maintenance_start"),
        ("u", "user:u", "user", "user_notification"),
        ("p", "project:p,user:u", "user", "user_online"),
    ]


def test_what_is_given_is_in_the_event_and_what_is_not_has_its_default() -> None:
    when = datetime(2026, 1, 31, 12, tzinfo=UTC)
    drawer = Drawer()
    common: dict[str, Any] = {"id": "mine", "sender_id": "s", "ttl": 60, "timestamp": when}
    for record in (
        drawer.emit_task_event("task_output", "t", priority=7, **common),
        drawer.emit_project_event("project_updated", "p", priority=7, **common),
        drawer.emit_system_event("system_security_alert", priority=7, **common),
        drawer.emit_user_event("user_action", "u", priority=7, **common),
    ):
        found = body(record)
        assert (found["id"], found["sender_id"], found["ttl"], found["priority"]) == ("mine", "s", 60, 7)
        assert found["timestamp"] == "2026-01-31T12:00:00.000000Z"
        assert dict(record.headers)["ttl"] == b"60"
    before = datetime.now(UTC)
    found = body(drawer.emit_task_event("task_output", "t"))
    assert (found["data"], found["priority"], found["ttl"], found["sender_id"]) == ({}, 5, None, None)
    assert before <= datetime.fromisoformat(found["timestamp"]) <= datetime.now(UTC)
    assert found["id"] != body(drawer.emit_task_event("task_output", "t"))["id"]


def test_an_emitter_remembers_a_tasks_project() -> None:
    drawer = Drawer()
    drawer.emit_task_event("task_started", "t", project_id="p")
    record = drawer.emit_task_event("task_output", "t", {"text": "x"})
    assert record.key == b"p"
    assert body(record)["channels"] == ["task:t", "project:p"]
    with pytest.raises(OtherProject, match="task t belongs to project p"):
        drawer.emit_task_event("task_output", "t", project_id="q")


def test_an_event_that_is_refused_fixes_no_project() -> None:
    drawer = Drawer()
    with pytest.raises(InvalidEvent):
        drawer.emit_task_event("task_started", "t", project_id="p", priority=99)
    assert drawer.emit_task_event("task_started", "t", project_id="q").key == b"q"


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda e: e.emit_task_event("task_output", "a b"), "task_id"),
        (lambda e: e.emit_task_event("task_output", None), "task_id"),
        (lambda e: e.emit_task_event("Output", "t"), "type"),
        (lambda e: e.emit_task_event("project_updated", "t"), "category"),
        (lambda e: e.emit_task_event("task_output", "t", ["no object"]), "data"),
        (lambda e: e.emit_task_event("task_output", "t", {"x": float("inf")}), "data.x.float"),
        (lambda e: e.emit_task_event("task_output", "t", {"x": "a\0b"}), "data.x"),
        (lambda e: e.emit_task_event("task_output", "t", priority=11), "priority"),
        (lambda e: e.emit_task_event("task_output", "t", ttl=0), "ttl"),
        (lambda e: e.emit_task_event("task_output", "t", timestamp="noon"), "timestamp"),
        (lambda e: e.emit_task_event("task_output", "t", id="é"), "id"),
        (lambda e: e.emit_project_event("project_member_added", "p", {}), "data.user_id"),
        (lambda e: e.emit_system_event("system_security_alert", {}, "high"), "priority"),
        (lambda e: e.emit_user_event("user_action", ""), "user_id"),
    ],
)
def test_what_is_wrong_with_an_event_is_named(call: Any, field: str) -> None:
    with pytest.raises(InvalidEvent, match=f"^{field.partition('.')[0]}") as caught:
        call(Drawer())
    assert caught.value.field == field
    assert isinstance(caught.value, ValueError)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidEvent, match=r"task_id: must be 1 to 128.*; priority: .*10"):
        Drawer().emit_task_event("task_output", "a b", priority=11)


def test_an_event_that_is_too_large_says_so() -> None:
    with pytest.raises(EventTooLarge, match=f"at most {MAX_EVENT_BYTES}"):
        Drawer().emit_task_event("task_output", "t", {"text": "x" * MAX_EVENT_BYTES})


def test_addresses_are_given_or_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LASTSEEN_KAFKA", "env:1, env:2")
    assert addresses("a:1,b:2") == addresses(["a:1", "b:2"]) == ["a:1", "b:2"]
    assert addresses(None) == ["env:1", "env:2"]
    monkeypatch.delenv("LASTSEEN_KAFKA")
    nothing: str | list[str] | None
    for nothing in (None, "", " , ", []):
        with pytest.raises(ValueError, match=r"bootstrap_servers.*LASTSEEN_KAFKA"):
            addresses(nothing)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        checked_timeout(timeout)


@pytest.mark.parametrize("linger", [-0.001, 1.5, float("nan"), float("inf")])
def test_a_linger_that_is_none_is_refused(linger: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        checked_linger(linger)


def kafka_errors() -> list[Any]:
    import aiokafka.errors
    import kafka.errors

    return [aiokafka.errors, kafka.errors]


@pytest.mark.parametrize("errors", kafka_errors())
@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("MessageSizeTooLargeError", InvalidEvent, "max.message.bytes"),
        ("RecordListTooLargeError", InvalidEvent, "max.message.bytes"),
        ("UnknownTopicOrPartitionError", LogUnavailable, "lastseen topics create"),
        ("InvalidTopicError", Rejected, "'topic' is no name"),
        ("TopicAuthorizationFailedError", AccessDenied, "write to topic topic"),
        ("NotEnoughReplicasError", LogUnavailable, "emit it again with id='e1'"),
        ("KafkaTimeoutError", LogUnavailable, "emit it again with id='e1'"),
    ],
)
def test_the_errors_of_both_clients_mean_the_same(errors: Any, name: str, kind: type[LastseenError], said: str) -> None:
    told = explain(getattr(errors, name)(), "here:9092", "topic", "e1")
    assert type(told) is kind
    assert said in str(told)
    if isinstance(told, LogUnavailable):
        assert told.id == "e1"


def test_an_error_number_of_the_system_is_none_of_kafkas() -> None:
    assert isinstance(explain(OSError(10, "no child"), "here:9092", "topic", "e1"), LogUnavailable)


@pytest.mark.parametrize(("missing", "module"), [("aiokafka", "lastseen.emitter"), ("kafka", "lastseen.sync_emitter")])
def test_without_its_extra_a_module_says_what_to_install(missing: str, module: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import {module}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 'pip install "lastseen[kafka]"' in ended.stderr.splitlines()[-1]
    assert ended.stderr.splitlines()[-1].startswith("ImportError: ")
