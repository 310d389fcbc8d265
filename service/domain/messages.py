"""The messages of the server, version 1 of the protocol: one builder each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from pydantic import JsonValue

PROTOCOL_VERSION: Final = 1
QUARANTINE: Final = "quarantine"
"""The reason of a gap where a record can't be used."""

Message = dict[str, object]


def rfc3339(now_ms: int) -> str:
    """A time in UTC as the wire has it."""
    second, ms = divmod(now_ms, 1000)
    return f"{_second(second)}.{ms:03d}Z"


@lru_cache(16)
def _second(second: int) -> str:
    """Of those that are written of most are now."""
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")


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


def ack_result(position: str, ref: JsonValue) -> Message:
    """The durable cursor is stored, and stands at `position`. Only for an `ack` with `ref`."""
    return _with_ref({"type": "ack_result", "stored": True, "position": position}, ref)


def unsubscribed(channel: str, reason: str) -> Message:
    """The server has ended a subscription; nothing more comes for it."""
    return {"type": "unsubscribed", "channel": channel, "reason": reason}


def token_expiring(expires_at: int) -> Message:
    """The token ends soon (`expires_at` in seconds since 1970), and with it the connection."""
    return {"type": "token_expiring", "expires_at": rfc3339(expires_at * 1000)}


def authentication_result(expires_at: int, ref: JsonValue) -> Message:
    """The connection goes on with the token that was given."""
    return _with_ref(
        {"type": "authentication_result", "authenticated": True, "expires_at": rfc3339(expires_at * 1000)}, ref
    )


def presence_result(channel: str, users: Sequence[str], unanswered: Sequence[str], ref: JsonValue) -> Message:
    """Who is there; `unanswered` are nodes that did not say in time whom they have."""
    message: Message = {"type": "presence_result", "channel": channel, "users": list(users)}
    if unanswered:
        message["unanswered"] = list(unanswered)
    return _with_ref(message, ref)


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
