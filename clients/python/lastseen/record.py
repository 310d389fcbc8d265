"""The record of an event in the Kafka topic: key, headers and value, and the names of its headers."""

from typing import Final, NamedTuple

from lastseen.envelope import MAX_EVENT_BYTES, Event

VERSION: Final = b"1"
HEADER_VERSION: Final = "v"
HEADER_ID: Final = "id"
HEADER_CHANNELS: Final = "ch"
HEADER_TYPE: Final = "type"
HEADER_TTL: Final = "ttl"
HEADER_EXCLUDE: Final = "x"
"""Names the one connection that live delivery leaves out."""


class NewRecord(NamedTuple):
    """A record ready to be appended; its headers are the one truth of its routing."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class EventTooLarge(ValueError):
    """The event's JSON is longer than the limit."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the event has {size} bytes of JSON, at most {limit} are accepted")
        self.size = size
        self.limit = limit


def encode(event: Event, max_bytes: int = MAX_EVENT_BYTES, exclude: str | None = None) -> NewRecord:
    """The record that carries `event`; live delivery leaves the connection `exclude` out.

    Raises EventTooLarge or NulCharacter.
    """
    value = event.to_json()
    if len(value) > max_bytes:
        raise EventTooLarge(len(value), max_bytes)
    headers = [
        (HEADER_VERSION, VERSION),
        (HEADER_ID, event.id.encode()),
        (HEADER_CHANNELS, ",".join(event.channels).encode()),
        (HEADER_TYPE, event.type.encode()),
    ]
    if event.ttl is not None:
        headers.append((HEADER_TTL, str(event.ttl).encode()))
    if exclude is not None:
        headers.append((HEADER_EXCLUDE, exclude.encode("ascii")))
    return NewRecord(event.key.encode(), value, tuple(headers))
