"""What a client's text means: the request that each message type asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import ceil
from sys import float_info
from typing import Final, NamedTuple

from lastseen.positions import Position
from pydantic import JsonValue
from pydantic_core import from_json

MAX_CHANNELS: Final = 1000
"""Channels that one `subscribe` or `unsubscribe` may name."""
MAX_LAST: Final = 1000
"""Events of each channel that a subscription may begin with."""
MAX_LAST_CHANNELS: Final = 20
"""Channels of one message that begins with the last events: each has to be looked for by itself."""
MAX_REF: Final = 256
MAX_TOKEN: Final = 6144
"""Characters of a token that is given in a message."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Fields = Mapping[str, JsonValue]
"""The members of a message."""

_SHORT_TOKEN: Final = 1024
# Of a crowd many have the same.
_parsed = lru_cache(maxsize=1_024)(Position.parse)


class ProtocolError(Exception):
    """A message that can't be acted on. It is answered; the connection stays."""

    def __init__(self, message: str, code: str, ref: JsonValue = None) -> None:
        super().__init__(message)
        self.code = code
        self.ref = ref


class ParsedMessage(NamedTuple):
    """A message whose form is right; what its type asks for is another matter."""

    type: str
    fields: Fields
    ref: JsonValue


def parse_message(text: str | bytes) -> ParsedMessage:
    """The message in a client's text. Raises ProtocolError."""
    try:
        message = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ProtocolError("Invalid JSON format", "invalid_json") from error
    if not isinstance(message, dict):
        raise ProtocolError("Invalid JSON format", "invalid_json")
    ref = message.get("ref")
    if not _is_ref(ref):
        raise ProtocolError(f"ref must be a finite number or a text of at most {MAX_REF} characters", "invalid_ref")
    type_ = message.get("type")
    if not isinstance(type_, str) or not type_:
        raise ProtocolError("Missing message type", "missing_type", ref)
    return ParsedMessage(type_, message, ref)


def unknown_type(message: ParsedMessage) -> ProtocolError:
    """What is answered to a type that nobody handles."""
    return ProtocolError(f"Unknown message type: {message.type[:100]}", "unknown_type", message.ref)


def _is_ref(ref: JsonValue) -> bool:
    if isinstance(ref, str):
        return len(ref) <= MAX_REF
    if isinstance(ref, bool):
        return False
    # A fraction too large for a float is read as infinite, which could not be written back; a whole number may
    # have thousands of digits.
    return ref is None or (isinstance(ref, int | float) and abs(ref) <= float_info.max)


@dataclass(frozen=True, slots=True)
class Ping:
    """The client asks whether the server lives."""

    ref: JsonValue = None


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to the server's ping."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to channels, from now on or from a start: at most one of `after`, `since_ms` and `last`."""

    channels: Sequence[str]
    after: Position | None
    ref: JsonValue = None
    since_ms: int | None = None
    """From what was appended at this time (ms since 1970) or later."""
    last: int | None = None
    """From so many of each channel's last events."""

    @property
    def is_from_now(self) -> bool:
        """Whether it names no start."""
        return self.after is None and self.since_ms is None and self.last is None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """End subscriptions."""

    channels: Sequence[str]
    ref: JsonValue = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything of the user's channel up to there has arrived."""

    position: Position
    ref: JsonValue = None


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Go on with another token."""

    token: str
    ref: JsonValue = None


@dataclass(frozen=True, slots=True)
class AskPresence:
    """Who is there."""

    channel: str
    ref: JsonValue = None


def parse_ping(_: Fields, ref: JsonValue) -> Ping:
    """A `ping`."""
    return Ping(ref)


def parse_pong(_: Fields, __: JsonValue) -> Pong:
    """A `pong`."""
    return Pong()


def parse_subscribe(fields: Fields, ref: JsonValue) -> Subscribe:
    """A `subscribe`. Raises ProtocolError."""
    channels = _channels(fields)
    given = [name for name in ("after", "since", "last") if fields.get(name) is not None]
    if not given:
        return Subscribe(channels, None, ref)
    if len(given) > 1:
        raise ProtocolError(f"{' and '.join(given)} name two starts: give one of them", "two_starts", ref)
    start = fields[given[0]]
    match given[0]:
        case "after":
            return Subscribe(channels, _position(start, "after"), ref)
        case "since":
            return Subscribe(channels, None, ref, since_ms=_time_ms(start))
    if not (isinstance(start, int) and not isinstance(start, bool) and 1 <= start <= MAX_LAST):
        raise ProtocolError(f"last must be a whole number from 1 to {MAX_LAST}", "invalid_last", ref)
    if len(channels) > MAX_LAST_CHANNELS:
        raise ProtocolError(f"At most {MAX_LAST_CHANNELS} channels in one message with last", "too_many_channels", ref)
    return Subscribe(channels, None, ref, last=start)


def parse_unsubscribe(fields: Fields, ref: JsonValue) -> Unsubscribe:
    """An `unsubscribe`. Raises ProtocolError."""
    return Unsubscribe(_channels(fields), ref)


def parse_ack(fields: Fields, ref: JsonValue) -> Ack:
    """An `ack`. Raises ProtocolError."""
    position = _position(fields.get("position"), "position")
    if position.is_earliest:
        raise ProtocolError("position must name what has arrived: earliest names nothing", "invalid_position")
    return Ack(position, ref)


def parse_authenticate(fields: Fields, ref: JsonValue) -> Authenticate:
    """An `authenticate`. Raises ProtocolError."""
    token = fields.get("token")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN:
        raise ProtocolError(f"token must be a text of 1 to {MAX_TOKEN} characters", "token_required")
    return Authenticate(token, ref)


def parse_presence(fields: Fields, ref: JsonValue) -> AskPresence:
    """A `presence`. Raises ProtocolError."""
    channel = fields.get("channel")
    if not isinstance(channel, str) or not channel:
        raise ProtocolError("Channel name required", "channel_required")
    return AskPresence(channel, ref)


def _position(token: JsonValue, field: str) -> Position:
    if not isinstance(token, str):
        raise ProtocolError(f"{field} must be a position token", "invalid_position")
    try:
        return _parsed(token) if len(token) <= _SHORT_TOKEN else Position.parse(token)
    except ValueError as error:
        raise ProtocolError(str(error), "invalid_position") from error


def _time_ms(time: JsonValue) -> int:
    """The first whole millisecond that is not before a time: records are timed by these."""
    try:
        found = datetime.fromisoformat(time) if isinstance(time, str) else None
        if found is not None and found.tzinfo is not None:
            return ceil((found - _EPOCH) / timedelta(milliseconds=1))
    except (ValueError, OverflowError):
        pass
    raise ProtocolError("since must be a time such as 2026-01-31T12:00:00Z, with its zone", "invalid_time")


def _channels(fields: Fields) -> list[str]:
    if fields.get("channels") is not None and fields.get("channel") is not None:
        raise ProtocolError("channel and channels both name channels: give one of them", "both_channels")
    named = fields.get("channels", fields.get("channel"))
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ProtocolError("Channel name required", "channel_required")
    if len(names) > MAX_CHANNELS:
        raise ProtocolError(f"At most {MAX_CHANNELS} channels in one message", "too_many_channels")
    return list(dict.fromkeys(str(name) for name in names))
