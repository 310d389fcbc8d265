import json

import pytest
from lastseen.positions import Position

from service.domain.requests import (
    MAX_CHANNELS,
    Ack,
    AskPresence,
    Authenticate,
    Ping,
    Pong,
    ProtocolError,
    Subscribe,
    Unsubscribe,
    parse_message,
)
from service.node.handlers.standard import standard_handlers

HANDLERS = standard_handlers()


def parse_request(text: str | bytes) -> object:
    """The request in a text."""
    return HANDLERS.read(parse_message(text))[1]


def test_what_a_client_may_say() -> None:
    assert parse_request('{"type":"ping","ref":"a"}') == Ping("a")
    assert parse_request('{"type":"pong","position":"x"}') == Pong()
    assert parse_request('{"type":"subscribe","channel":"task:a"}') == Subscribe(["task:a"], None)
    assert parse_request('{"type":"subscribe","channels":["a","b","a"],"after":"e:0=1","ref":7}') == Subscribe(
        ["a", "b"], Position("e", {0: 1}), 7
    )
    assert parse_request('{"type":"unsubscribe","channel":"task:a"}') == Unsubscribe(["task:a"])
    assert parse_request('{"type":"subscribe","channel":"task:a","last":7}') == Subscribe(["task:a"], None, last=7)
    at = '{"type":"subscribe","channel":"task:a","since":"1970-01-01T01:00:00.0005+01:00"}'
    assert parse_request(at) == Subscribe(["task:a"], None, since_ms=1)
    assert parse_request('{"type":"ack","position":"e:0=5"}') == Ack(Position("e", {0: 5}))
    assert parse_request('{"type":"authenticate","token":"t","ref":"r"}') == Authenticate("t", "r")
    assert parse_request('{"type":"presence","channel":"project:p"}') == AskPresence("project:p")


@pytest.mark.parametrize(
    ("text", "message", "code"),
    [
        ("", "Invalid JSON format", "invalid_json"),
        ("{", "Invalid JSON format", "invalid_json"),
        ("[]", "Invalid JSON format", "invalid_json"),
        (b"\xff\xfe", "Invalid JSON format", "invalid_json"),
        ("[" * 10_000, "Invalid JSON format", "invalid_json"),
        ('{"type":"\\ud800"}', "Invalid JSON format", "invalid_json"),
        ("{}", "Missing message type", "missing_type"),
        ('{"type":5}', "Missing message type", "missing_type"),
        ('{"type":""}', "Missing message type", "missing_type"),
        ('{"type":"dance"}', "Unknown message type: dance", "unknown_type"),
        ('{"type":"ping","ref":{}}', "ref must be", "invalid_ref"),
        ('{"type":"ping","ref":1e999}', "ref must be", "invalid_ref"),
        ('{"type":"ping","ref":"%s"}' % ("x" * 300), "ref must be", "invalid_ref"),
        ('{"type":"subscribe"}', "Channel name required", "channel_required"),
        (
            '{"type":"subscribe","channel":"user:a","channels":["user:b"]}',
            "channel and channels both name channels: give one of them",
            "both_channels",
        ),
        ('{"type":"subscribe","channel":""}', "Channel name required", "channel_required"),
        ('{"type":"subscribe","channel":7}', "Channel name required", "channel_required"),
        ('{"type":"subscribe","channels":[]}', "Channel name required", "channel_required"),
        ('{"type":"subscribe","channels":["a",3]}', "Channel name required", "channel_required"),
        ('{"type":"unsubscribe"}', "Channel name required", "channel_required"),
        ('{"type":"subscribe","channel":"task:a","after":"soon"}', "is no position", "invalid_position"),
        ('{"type":"subscribe","channel":"task:a","after":5}', "position token", "invalid_position"),
        ('{"type":"subscribe","channel":"task:a","last":5,"since":"x"}', "since and last name two", "two_starts"),
        ('{"type":"subscribe","channel":"task:a","last":true}', "last must be", "invalid_last"),
        ('{"type":"subscribe","channel":"task:a","last":1001}', "last must be", "invalid_last"),
        ('{"type":"subscribe","channel":"task:a","since":"2026-01-31T12:00:00"}', "with its zone", "invalid_time"),
        ('{"type":"subscribe","channel":"task:a","since":5}', "since must be", "invalid_time"),
        (
            json.dumps({"type": "subscribe", "channels": [f"task:{n}" for n in range(MAX_CHANNELS + 1)]}),
            "At most 1000 channels",
            "too_many_channels",
        ),
    ],
)
def test_what_is_answered_with_an_error(text: str | bytes, message: str, code: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        parse_request(text)
    assert caught.value.code == code


def test_an_error_keeps_the_ref() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_request('{"type":"subscribe","ref":"mine"}')
    assert caught.value.ref == "mine"
