"""Reading a record of the topic: the one rule that every reader applies.

A record of ours carries its routing in headers, so its value is checked but neither parsed nor written
anew. A record without our headers (a foreign producer's) is parsed, validated and derived. Both give a
`Record`, or raise `Unreadable`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from lastseen.channels import ID_PATTERN, parse_channel
from lastseen.envelope import TYPE_PATTERN, Event, NulCharacter
from lastseen.field_errors import field_errors
from lastseen.names import TERMINAL_TYPES
from lastseen.record import (
    HEADER_CHANNELS,
    HEADER_EXCLUDE,
    HEADER_ID,
    HEADER_TTL,
    HEADER_TYPE,
    HEADER_VERSION,
    VERSION,
)
from pydantic import ValidationError
from pydantic_core import from_json

from service.domain.errors import Unreadable


class RawRecord(Protocol):
    """A record as Kafka hands it over. `timestamp` is the time of appending, in ms since 1970."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


@dataclass(slots=True)
class Record:
    """A readable record. `value` is the event's JSON object, less `partition` and `offset`."""

    partition: int
    offset: int
    appended_at: int
    """Kafka's time of appending, ms since 1970."""
    id: str
    type: str
    channels: tuple[str, ...]
    ttl: int | None
    """Seconds after `appended_at` for which a replay still delivers it."""
    value: bytes
    exclude: str | None = None
    """The connection that live delivery leaves out; replays know nothing of it."""

    @property
    def task(self) -> str | None:
        """The id of the task whose channel carries this record."""
        return task_of(self.channels)

    @property
    def ended_task(self) -> str | None:
        """The id of the task that this record ends."""
        return self.task if self.type in TERMINAL_TYPES else None

    def is_expired(self, now_ms: int) -> bool:
        """Whether a replay at `now_ms` leaves it out."""
        return self.ttl is not None and self.appended_at + self.ttl * 1000 <= now_ms


@dataclass(slots=True)
class Unusable(Record):
    """Stands where a record lies that readers of its channels should have had and can't: they are told of a gap.

    Nothing is known of it but its place and its channels: id and type are empty, the value is an empty object.
    Void it never is.
    """


def unusable(partition: int, offset: int, appended_at: int, channels: tuple[str, ...]) -> Unusable:
    """What stands for a record that can't be used."""
    return Unusable(partition, offset, appended_at, "", "", channels, None, b"{}")


def stand_in(raw: RawRecord, error: Unreadable) -> Unusable | None:
    """What stands for an unreadable record; None where nobody can tell whose it was."""
    return unusable(raw.partition, raw.offset, raw.timestamp, error.channels) if error.channels else None


def read_record(raw: RawRecord) -> Record:
    """The record that `raw` carries. Raises Unreadable."""
    headers = raw.headers
    if len(headers) == _PLAIN_HEADERS:
        # Nearly all are so: what every reader does for every record is done without a dictionary.
        (first, version), (second, id_), (third, channels), (fourth, type_) = headers
        if (
            version == VERSION
            and first == HEADER_VERSION
            and second == HEADER_ID
            and third == HEADER_CHANNELS
            and fourth == HEADER_TYPE
        ):
            try:
                return _read_ours(raw, id_, channels, type_)
            except Unreadable as error:
                error.channels = _channels_told(channels)
                raise
    return _read_named(raw, dict(headers))


_PLAIN_HEADERS: Final = 4


def _read_named(raw: RawRecord, headers: Mapping[str, bytes | None]) -> Record:
    """The record, whatever headers it has and in whatever order."""
    version = headers.get(HEADER_VERSION)
    if version == VERSION:
        try:
            return _read_ours(
                raw,
                headers.get(HEADER_ID, _MISSING),
                headers.get(HEADER_CHANNELS, _MISSING),
                headers.get(HEADER_TYPE, _MISSING),
                headers.get(HEADER_TTL, _MISSING),
                headers.get(HEADER_EXCLUDE, _MISSING),
            )
        except Unreadable as error:
            error.channels = _channels_told(headers.get(HEADER_CHANNELS))
            raise
    if raw.value is None:
        raise Unreadable("no_value", "the record has no value (a tombstone)")
    if version is not None:
        raise Unreadable("version", f"record version {version[:32]!r} is not known here, only {VERSION!r} is")
    return _read_foreign(raw, raw.value)


_MISSING: Final = b"\0missing"
"""Stands for a header that is not there; none has a NUL."""


def _read_ours(
    raw: RawRecord,
    id_: bytes | None,
    channels: bytes | None,
    type_: bytes | None,
    ttl: bytes | None = _MISSING,
    exclude: bytes | None = _MISSING,
) -> Record:
    value = raw.value
    if value is None:
        raise Unreadable("no_value", "the record has no value (a tombstone)")
    if not (value.startswith(b'{"') and value.endswith(b"}")):
        raise Unreadable("not_an_object", "the value is no JSON object with a first key")
    _check_text(value)
    try:
        return Record(
            raw.partition,
            raw.offset,
            raw.timestamp,
            _id(id_),
            _type(type_),
            _channels(channels),
            None if ttl is _MISSING else _ttl(ttl),
            value,
            None if exclude is _MISSING else _exclude(exclude),
        )
    except ValueError as error:
        for name, header in ((HEADER_ID, id_), (HEADER_TYPE, type_), (HEADER_CHANNELS, channels)):
            if header is _MISSING:
                raise Unreadable("header", f"the header {name!r} is missing") from error
        raise Unreadable("header", str(error)) from error


def _channels_told(header: bytes | None) -> tuple[str, ...]:
    try:
        return _channels(header)
    except ValueError:
        return ()


def _check_text(value: bytes) -> None:
    # The number: of bytes Python first makes an error, that they are none.
    if 0 in value:
        raise Unreadable("nul", "the value holds a NUL byte")
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise Unreadable("utf8", f"the value is not UTF-8 at byte {error.start}") from error


def _read_foreign(raw: RawRecord, value: bytes) -> Record:
    """A record of a producer that knows nothing of our headers: its value has to be an event."""
    _check_text(value)
    try:
        fields = from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise Unreadable("json", f"the value is no JSON: {error}") from error
    if not isinstance(fields, dict) or not fields:
        raise Unreadable("not_an_object", "the value is no JSON object with a first key")
    # Derived from the record alone, so that every reader derives the same.
    if fields.get("id") is None:
        fields["id"] = f"kafka-{raw.partition}-{raw.offset}"
    if fields.get("timestamp") is None:
        fields["timestamp"] = datetime.fromtimestamp(raw.timestamp / 1000, UTC)
    try:
        event = Event.model_validate(fields)
        json = event.to_json()
    except ValidationError as error:
        first = field_errors(error)[0]
        raise Unreadable("event", f"{first.field or 'event'}: {first.detail}") from error
    except NulCharacter as error:
        raise Unreadable("nul", str(error)) from error
    return Record(raw.partition, raw.offset, raw.timestamp, event.id, event.type, event.channels, event.ttl, json)


_ID: Final = re.compile(ID_PATTERN)
_ID_BYTES: Final = 128
_IN_IDS: Final = bytes(byte for byte in range(128) if _ID.fullmatch(chr(byte)))
_TYPE: Final = re.compile(TYPE_PATTERN)
_CACHED_CHANNEL_LISTS: Final = 65_536


@lru_cache(_CACHED_CHANNEL_LISTS)
def _channels(header: bytes | None) -> tuple[str, ...]:
    names = tuple(_text(header).split(","))
    kinds = {parse_channel(name).kind for name in names}
    if len(kinds) != len(names):
        raise ValueError(f"{','.join(names)[:200]!r} names two channels of one kind")
    return names


@lru_cache(1024)
def _type(header: bytes | None) -> str:
    text = _text(header)
    if not _TYPE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no event type")
    return text


def _id(header: bytes | None) -> str:
    if header is not None and 0 < len(header) <= _ID_BYTES and not header.translate(None, _IN_IDS):
        return header.decode("ascii")
    text = _text(header)
    if not _ID.fullmatch(text):
        raise ValueError(f"{text[:160]!r} is no event id")
    return text


def _text(header: bytes | None) -> str:
    if header is None:
        raise ValueError("a header has no value")
    return header.decode("ascii")


def _exclude(header: bytes | None) -> str | None:
    if header is None:
        return None
    if not _ID.fullmatch(header.decode("ascii")):
        raise ValueError(f"{header[:160]!r} is no connection's id")
    return header.decode("ascii")


def _ttl(header: bytes | None) -> int | None:
    if header is None:
        return None
    if not (header.isdigit() and len(header) < 12):
        raise ValueError(f"{header[:32]!r} is no ttl: a whole number of seconds is")
    return int(header)


@lru_cache(_CACHED_CHANNEL_LISTS)
def task_of(channels: tuple[str, ...]) -> str | None:
    """The id in the task channel among `channels`."""
    return next((name[5:] for name in channels if name.startswith("task:")), None)
