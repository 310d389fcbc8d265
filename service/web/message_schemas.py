"""The one table of the socket's messages: a JSON schema for each type, both ways.

`asyncapi.json` is made of it, and the tests hold every message that a node really sends against it. What a client
sends may have more members than are named here: they are ignored. What the server sends has no others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lastseen.channels import ID_PATTERN
from lastseen.commands import MAX_CONFIRMATION_ID, TO_RUNNING_TASKS, CommandName
from lastseen.envelope import TYPE_PATTERN
from lastseen.names import Category

from service.domain.command_requests import RESULT_TYPES
from service.domain.commands import State
from service.domain.messages import PROTOCOL_VERSION
from service.domain.requests import MAX_CHANNELS, MAX_LAST, MAX_REF, MAX_TOKEN
from service.web.documented import POSITION

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string"}
NAMED: Final[Schema] = {"type": "string", "minLength": 1}
ID: Final[Schema] = {"type": "string", "pattern": ID_PATTERN}
TIME: Final[Schema] = {"type": "string", "format": "date-time", "pattern": "^[0-9-]{10}T[0-9:.]{8,}Z$"}
YES: Final[Schema] = {"type": "boolean", "const": True}
BOOL: Final[Schema] = {"type": "boolean"}
CODE: Final[Schema] = {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": "Stable."}
REF: Final[Schema] = {
    "description": "Whatever the client chose; it comes back in the answer.",
    "anyOf": [{"type": "string", "maxLength": MAX_REF}, {"type": "number"}],
}
GIVEN_REF: Final[Schema] = {**REF, "anyOf": [*REF["anyOf"], {"type": "null"}]}
SECONDS: Final[Schema] = {"type": "number", "exclusiveMinimum": 0, "description": "Seconds."}
CHANNELS: Final[Schema] = {"type": "array", "items": NAMED, "minItems": 1}
OFFSET: Final[Schema] = {"type": "integer", "minimum": 0}


class Described(NamedTuple):
    """A message type: what it is for, and its schema."""

    summary: str
    schema: Schema


class Asked(NamedTuple):
    """A message type of clients, and the types that may answer it."""

    summary: str
    schema: Schema
    answers: Sequence[str]


def _message(type_: str, required: Mapping[str, Schema], optional: Mapping[str, Schema], *, closed: bool) -> Schema:
    return {
        "type": "object",
        "title": type_,
        "required": ["type", *required],
        "properties": {"type": {"type": "string", "const": type_}, **required, **optional},
        "additionalProperties": not closed,
    }


def _told(type_: str, summary: str, *, may: Mapping[str, Schema] | None = None, **required: Schema) -> Described:
    return Described(summary, _message(type_, required, may or {}, closed=True))


def _asked(
    type_: str, summary: str, answers: Sequence[str], *, may: Mapping[str, Schema] | None = None, **required: Schema
) -> Asked:
    optional = {"ref": GIVEN_REF, **(may or {})}
    return Asked(summary, _message(type_, required, optional, closed=False), answers)


_START: Final[Schema] = {
    "type": "object",
    "required": ["channel", "position", "live"],
    "properties": {"channel": NAMED, "position": POSITION, "live": BOOL, "recovered": BOOL},
    "additionalProperties": False,
}
_OPTIONAL_ID: Final[Schema] = {"anyOf": [ID, {"type": "null"}]}

EVENT: Final[Schema] = {
    "type": "object",
    "title": "event",
    "required": [
        *("id", "type", "category", "task_id", "project_id", "user_id", "sender_id", "target_user_id"),
        *("priority", "ttl", "timestamp", "channels", "data", "partition", "offset"),
    ],
    "properties": {
        "id": ID,
        "type": {"type": "string", "pattern": TYPE_PATTERN},
        "category": {"type": "string", "enum": [category.value for category in Category]},
        "task_id": _OPTIONAL_ID,
        "project_id": _OPTIONAL_ID,
        "user_id": _OPTIONAL_ID,
        "sender_id": _OPTIONAL_ID,
        "target_user_id": _OPTIONAL_ID,
        "priority": {"type": "integer", "minimum": 0, "maximum": 10},
        "ttl": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        "timestamp": TIME,
        "channels": CHANNELS,
        "data": {"type": "object"},
        "replay": {**CHANNELS, "description": "Only on a replayed event: the channels for which it counts."},
        "partition": OFFSET,
        "offset": OFFSET,
    },
    "additionalProperties": True,
}
"""An event has an `offset`, which no other message has; its `type` may be any name."""


def _result(command: CommandName) -> Described:
    return _told(
        RESULT_TYPES[command],
        f"What became of a {command.value}: `success` means applied, nothing less.",
        may={"ref": REF},
        task_id=ID,
        id=ID,
        success=BOOL,
        state={"type": "string", "enum": [state.value for state in State]},
        reason={"anyOf": [TEXT, {"type": "null"}]},
    )


SERVER_MESSAGES: Final[Mapping[str, Described]] = {
    "connection_established": _told(
        "connection_established",
        "The first message: the automatic subscriptions, each with the position where it begins.",
        may={"recovered": BOOL},
        connection_id=NAMED,
        timestamp=TIME,
        user_id=NAMED,
        node=TEXT,
        protocol={"type": "integer", "const": PROTOCOL_VERSION},
        heartbeat_seconds={"type": "integer", "minimum": 1},
        position=POSITION,
        subscriptions={"type": "array", "items": _START, "minItems": 2},
    ),
    "subscription_result": _told(
        "subscription_result",
        "A channel is subscribed, from `position` on.",
        may={"ref": REF, "recovered": BOOL},
        channel=NAMED,
        subscribed=YES,
        position=POSITION,
    ),
    "unsubscription_result": _told(
        "unsubscription_result", "A channel is not subscribed.", may={"ref": REF}, channel=NAMED, unsubscribed=YES
    ),
    "caught_up": _told(
        "caught_up",
        "These channels have reached the head and are live; `closed`: nothing more will come.",
        may={"closed": YES},
        channels=CHANNELS,
        position=POSITION,
    ),
    "fell_behind": _told(
        "fell_behind",
        "These channels were live up to `position` and catch up from there.",
        channels=CHANNELS,
        position=POSITION,
    ),
    "gap": _told(
        "gap",
        "What lies between the two positions will not come.",
        channels=CHANNELS,
        requested=POSITION,
        earliest=POSITION,
        reason={"type": "string", "enum": ["retention", "epoch", "lost", "quarantine"]},
    ),
    "unsubscribed": _told(
        "unsubscribed", "The server ended a subscription.", channel=NAMED, reason={**CODE, "examples": ["rights"]}
    ),
    "ping": _told("ping", "A heartbeat: live channels are served up to `position`.", timestamp=TIME, position=POSITION),
    "pong": _told("pong", "The answer to a client's `ping`.", may={"ref": REF}, timestamp=TIME),
    "ack_result": _told(
        "ack_result", "The durable cursor stands at `position`.", stored=YES, position=POSITION, ref=REF
    ),
    "presence_result": _told(
        "presence_result",
        "The users with a connection that is subscribed to the channel; `unanswered`: nodes that did not say in time.",
        may={"ref": REF, "unanswered": {"type": "array", "items": NAMED}},
        channel=NAMED,
        users={"type": "array", "items": NAMED},
    ),
    "authentication_result": _told(
        "authentication_result",
        "The connection goes on with the new token.",
        may={"ref": REF},
        authenticated=YES,
        expires_at=TIME,
    ),
    "token_expiring": _told("token_expiring", "The token ends soon: send `authenticate`.", expires_at=TIME),
    **{RESULT_TYPES[command]: _result(command) for command in TO_RUNNING_TASKS},
    "error": _told(
        "error",
        "A request failed; the connection stays.",
        may={"ref": REF, "channel": TEXT, "retry_after": SECONDS},
        message=NAMED,
        code=CODE,
        timestamp=TIME,
    ),
}

_WHICH: Final[Mapping[str, Schema]] = {
    "channel": NAMED,
    "channels": {**CHANNELS, "maxItems": MAX_CHANNELS, "description": "Instead of `channel`."},
}


def _command(command: CommandName, summary: str, **required: Schema) -> Asked:
    answers = [RESULT_TYPES[command], "error"]
    may = {"id": {**_OPTIONAL_ID, "description": "The idempotency key: a retry with it is the same command."}}
    return _asked(command.value, summary, answers, may=may, task_id=ID, **required)


CLIENT_MESSAGES: Final[Mapping[str, Asked]] = {
    "ping": _asked("ping", "Does the server live?", ["pong"]),
    "pong": _asked("pong", "The answer to the server's `ping`.", []),
    "subscribe": _asked(
        "subscribe",
        "Subscribe to channels: from now on, or from one start: a position, a time, or each one's last events.",
        ["subscription_result", "error"],
        may={
            **_WHICH,
            "after": {"anyOf": [POSITION, {"type": "null"}]},
            "since": {"type": ["string", "null"], "format": "date-time"},
            "last": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_LAST},
        },
    ),
    "unsubscribe": _asked("unsubscribe", "End subscriptions.", ["unsubscription_result", "error"], may=_WHICH),
    "ack": _asked(
        "ack",
        "Everything of the user's channel up to there has arrived; answered only where it has a `ref`.",
        ["ack_result", "error"],
        position=POSITION,
    ),
    "presence": _asked("presence", "Who is there?", ["presence_result", "error"], channel=NAMED),
    "authenticate": _asked(
        "authenticate",
        "Go on with another token of the same user.",
        ["authentication_result", "error"],
        token={"type": "string", "minLength": 1, "maxLength": MAX_TOKEN},
    ),
    "task_input": _command(CommandName.INPUT, "Give a task input.", input=NAMED),
    "task_cancel": _command(CommandName.CANCEL, "Cancel a task."),
    "task_pause": _command(CommandName.PAUSE, "Pause a task."),
    "task_resume": _command(CommandName.RESUME, "Let a paused task go on."),
    "task_confirm": _command(
        CommandName.CONFIRM,
        "Answer what a task asked to be confirmed.",
        confirmation_id={"type": "string", "minLength": 1, "maxLength": MAX_CONFIRMATION_ID},
        approved=BOOL,
    ),
}
