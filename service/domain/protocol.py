"""The WebSocket dialect, version 1: what a client's text means, and the messages that answer it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Final

from lastseen.positions import Position
from pydantic import JsonValue
from pydantic_core import from_json

PROTOCOL_VERSION: Final = 1
SUBPROTOCOL: Final = "lastseen.v1"
MAX_CHANNELS: Final = 1000
"""Channels that one `subscribe` or `unsubscribe` may name."""
MAX_REF: Final = 256

Message = dict[str, object]


class ProtocolError(Exception):
    """A message that can't be acted on. It is answered; the connection stays."""

    def __init__(self, message: str, code: str, ref: JsonValue = None) -> None:
        super().__init__(message)
        self.code = code
        self.ref = ref


@dataclass(frozen=True, slots=True)
class Ping:
    """The client asks whether the server lives."""

    ref: JsonValue = None


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to the server's ping."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to channels; with `after`, from there, else from now on."""

    channels: Sequence[str]
    after: Position | None
    ref: JsonValue = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """End subscriptions."""

    channels: Sequence[str]
    ref: JsonValue = None


Request = Ping | Pong | Subscribe | Unsubscribe


def parse_request(text: str | bytes) -> Request:
    """What the client wants. Raises ProtocolError."""
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
    parser = _PARSERS.get(type_)
    if parser is None:
        raise ProtocolError(f"Unknown message type: {type_[:100]}", "unknown_type", ref)
    try:
        return parser(message, ref)
    except ProtocolError as error:
        error.ref = ref
        raise


def _is_ref(ref: JsonValue) -> bool:
    if isinstance(ref, str):
        return len(ref) <= MAX_REF
    # A number too large for a float is read as infinite, which could not be written back.
    return ref is None or isinstance(ref, int) or (isinstance(ref, float) and isfinite(ref))


def _subscribe(message: Mapping[str, JsonValue], ref: JsonValue) -> Request:
    channels = _channels(message)
    for later in ("since", "last"):
        if message.get(later) is not None:
            raise ProtocolError(f"{later} is not offered by this server: give after, a position", "unsupported")
    token = message.get("after")
    if token is None:
        return Subscribe(channels, None, ref)
    if not isinstance(token, str):
        raise ProtocolError("after must be a position token", "invalid_position")
    try:
        return Subscribe(channels, Position.parse(token), ref)
    except ValueError as error:
        raise ProtocolError(str(error), "invalid_position") from error


def _channels(message: Mapping[str, JsonValue]) -> list[str]:
    named = message.get("channels", message.get("channel"))
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ProtocolError("Channel name required", "channel_required")
    if len(names) > MAX_CHANNELS:
        raise ProtocolError(f"At most {MAX_CHANNELS} channels in one message", "too_many_channels")
    return list(dict.fromkeys(str(name) for name in names))


_PARSERS: Final[Mapping[str, Callable[[Mapping[str, JsonValue], JsonValue], Request]]] = {
    "ping": lambda _, ref: Ping(ref),
    "pong": lambda _, __: Pong(),
    "subscribe": _subscribe,
    "unsubscribe": lambda message, ref: Unsubscribe(_channels(message), ref),
}


def rfc3339(now_ms: int) -> str:
    """A time in UTC as the wire has it."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _with_ref(message: Message, ref: JsonValue) -> Message:
    if ref is not None:
        message["ref"] = ref
    return message


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins, for `connection_established` and `subscription_result`."""

    channel: str
    position: str
    live: bool
    recovered: bool | None = None
    """Whether everything since the position will come; only for one that catches up."""


def connection_established(
    *, connection_id: str, now_ms: int, user_id: str, node: str, heartbeat_seconds: int, starts: Sequence[Start]
) -> Message:
    """The first message. The start of the project, else the first, lends its position to the message itself."""
    subscriptions: list[Message] = []
    for start in starts:
        entry: Message = {"channel": start.channel, "position": start.position, "live": start.live}
        if start.recovered is not None:
            entry["recovered"] = start.recovered
        subscriptions.append(entry)
    main = next((s for s in starts if s.channel.startswith("project:")), starts[0])
    message: Message = {
        "type": "connection_established",
        "connection_id": connection_id,
        "timestamp": rfc3339(now_ms),
        "user_id": user_id,
        "node": node,
        "protocol": PROTOCOL_VERSION,
        "heartbeat_seconds": heartbeat_seconds,
        "position": main.position,
        "subscriptions": subscriptions,
    }
    if main.recovered is not None:
        message["recovered"] = main.recovered
    return message


def subscription_result(channel: str, position: str, recovered: bool | None, ref: JsonValue) -> Message:
    """A subscription stands; `position` is where it begins, or how far it has been served."""
    message: Message = {"type": "subscription_result", "channel": channel, "subscribed": True, "position": position}
    if recovered is not None:
        message["recovered"] = recovered
    return _with_ref(message, ref)


def unsubscription_result(channel: str, ref: JsonValue) -> Message:
    """A subscription has ended (or there was none)."""
    return _with_ref({"type": "unsubscription_result", "channel": channel, "unsubscribed": True}, ref)


def caught_up(channels: Sequence[str], position: str, *, closed: bool) -> Message:
    """A catch-up has reached the head; `closed` where nothing more will come."""
    message: Message = {"type": "caught_up", "channels": channels, "position": position}
    if closed:
        message["closed"] = True
    return message


def fell_behind(channels: Sequence[str], position: str) -> Message:
    """Live subscriptions were served up to `position` and catch up from there."""
    return {"type": "fell_behind", "channels": channels, "position": position}


def gap(channels: Sequence[str], requested: str, earliest: str, reason: str) -> Message:
    """What lies between the two positions can't be had."""
    return {"type": "gap", "channels": channels, "requested": requested, "earliest": earliest, "reason": reason}


def ping(now_ms: int, position: str) -> Message:
    """The server's heartbeat; live subscriptions have been served up to `position`."""
    return {"type": "ping", "timestamp": rfc3339(now_ms), "position": position}


def pong(now_ms: int, ref: JsonValue) -> Message:
    """The answer to a client's ping."""
    return _with_ref({"type": "pong", "timestamp": rfc3339(now_ms)}, ref)


def error(
    message: str,
    code: str,
    now_ms: int,
    *,
    ref: JsonValue = None,
    channel: str | None = None,
    retry_after: float | None = None,
) -> Message:
    """A request that failed. The connection stays."""
    answer: Message = {"type": "error", "message": message, "code": code, "timestamp": rfc3339(now_ms)}
    if channel is not None:
        answer["channel"] = channel
    if retry_after is not None:
        answer["retry_after"] = retry_after
    return _with_ref(answer, ref)
