import json

import pytest
from lastseen.record import encode

from service.domain.errors import Unreadable
from service.domain.records import read_record, stand_in
from tests.raw import APPENDED_AT, Raw, raw_of, task_event, unusable_headers, unusable_raw


def test_a_record_of_ours_is_read_without_touching_its_value() -> None:
    event = task_event("t", "task_completed", project_id="p", ttl=60, data={"text": "héllo"})
    raw = raw_of(3, 7, event)
    record = read_record(raw)
    assert record.value is raw.value
    assert (record.partition, record.offset, record.appended_at) == (3, 7, APPENDED_AT)
    assert (record.id, record.type, record.channels, record.ttl) == (event.id, event.type, ("task:t", "project:p"), 60)
    assert record.task == record.ended_task == "t"
    assert not record.is_expired(APPENDED_AT + 59_999)
    assert record.is_expired(APPENDED_AT + 60_000)


def with_headers(**changes: bytes | None) -> Raw:
    record = encode(task_event())
    headers = {**dict(record.headers), **changes}
    return Raw(0, 0, record.value, [(name, value) for name, value in headers.items() if value is not None])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (Raw(0, 0, None), "no_value"),
        (with_headers(v=b"2"), "version"),
        (with_headers(id=None), "header"),
        (with_headers(id=b"a,b"), "header"),
        (with_headers(id=b"\xff"), "header"),
        (with_headers(type=b"Task"), "header"),
        (with_headers(ch=b""), "header"),
        (with_headers(ch=b"task:a,task:b"), "header"),
        (with_headers(ch=b"weather:x"), "header"),
        (with_headers(ttl=b"-5"), "header"),
        (with_headers(ttl="٣".encode()), "header"),
        (with_headers(x=b"a,b"), "header"),
        (with_headers(x=b"\xff"), "header"),
    ],
)
def test_headers_that_no_reader_can_use(raw: Raw, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_record(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("raw", "channels"),
    [
        (unusable_raw(0, 5, ["task:t", "project:p"]), ("task:t", "project:p")),
        (Raw(0, 5, None, unusable_headers(["user:u"])), ("user:u",)),
        (with_headers(type=b"Task"), ("task:t",)),
        (with_headers(ch=None), ()),
        (with_headers(ch=b"task:a,task:b"), ()),
        (with_headers(ch=b"\xff"), ()),
        # Whatever a later version means by its headers is not known here.
        (with_headers(v=b"2"), ()),
        (Raw(0, 5, b"no JSON", [("ch", b"task:t")]), ()),
    ],
)
def test_whose_an_unreadable_record_was_its_headers_say(raw: Raw, channels: tuple[str, ...]) -> None:
    with pytest.raises(Unreadable) as caught:
        read_record(raw)
    assert caught.value.channels == channels
    missing = stand_in(raw, caught.value)
    assert (missing is None) == (not channels)
    if missing is not None:
        assert (missing.offset, missing.channels, missing.id, missing.ended_task) == (raw.offset, channels, "", None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not_an_object"),
        (b"[]", "not_an_object"),
        (b"{}", "not_an_object"),
        (b'{"a":1', "not_an_object"),
        (b'{"a":"\xff"}', "utf8"),
        (b'{"a":"\xed\xa0\x80"}', "utf8"),
        (b'{"a":"\0"}', "nul"),
    ],
)
def test_values_that_would_break_a_viewer(value: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_record(Raw(0, 0, value, encode(task_event()).headers))
    assert caught.value.reason == reason


def test_a_foreign_record_is_derived_from_itself_alone() -> None:
    raw = Raw(2, 9, json.dumps({"type": "task_output", "task_id": "t", "project_id": "p"}).encode())
    record = read_record(raw)
    assert read_record(raw) == record
    assert record.id == "kafka-2-9"
    assert record.channels == ("task:t", "project:p")
    body = json.loads(record.value)
    assert body["timestamp"] == "2023-11-14T22:13:20.000000Z"
    assert body["channels"] == ["task:t", "project:p"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"hello", "json"),
        (b"[1]", "not_an_object"),
        (b"{}", "not_an_object"),
        (b"\xff", "utf8"),
        (b'{"type":"task_output"}', "event"),
        (b'{"type":"task_output","task_id":"t","colour":"red"}', "event"),
        (b'{"type":"task_output","task_id":"t","data":{"text":"\\u0000"}}', "nul"),
        (b'{"type":"task_output","task_id":"t","data":{"x":NaN}}', "json"),
        (b'{"type":"task_output","task_id":"t","data":{"x":1e999}}', "event"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "json"),
    ],
)
def test_a_foreign_record_that_is_no_event(value: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_record(Raw(0, 0, value))
    assert caught.value.reason == reason
