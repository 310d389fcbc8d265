"""WebSocket frames made once and written to many: unmasked, unfragmented text (RFC 6455, section 5.2)."""

from collections.abc import Iterator, Sequence
from typing import Final

from pydantic_core import to_json

from service.domain.records import Record

_SMALL = 126
_MEDIUM = 65_536


def _head(size: int) -> bytes:
    """What stands before so many bytes of text."""
    if size < _SMALL:
        return bytes((0x81, size))
    if size < _MEDIUM:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


_KNOWN: Final = 2_048
_HEADS: Final = tuple(_head(size) for size in range(_KNOWN))


def text_frame(payload: bytes) -> bytes:
    """The frame that carries `payload` (UTF-8) from a server to a client."""
    size = len(payload)
    return (_HEADS[size] if size < _KNOWN else _head(size)) + payload


def payloads(frames: bytes) -> Iterator[bytes]:
    """The payloads of the frames that stand one behind the other in `frames`, all made by `text_frame`."""
    at = 0
    while at < len(frames):
        size = frames[at + 1]
        at += 2
        if size == _SMALL:
            size, at = int.from_bytes(frames[at : at + 2], "big"), at + 2
        elif size == _SMALL + 1:
            size, at = int.from_bytes(frames[at : at + 8], "big"), at + 8
        yield frames[at : at + size]
        at += size


def event_payload(record: Record) -> bytes:
    """The event as clients get it: place spliced in last, so that keys of those names in the value lose."""
    return b'%b,"partition":%d,"offset":%d}' % (record.value[:-1], record.partition, record.offset)


def event_frame(record: Record) -> bytes:
    """The frame of a live event."""
    return text_frame(event_payload(record))


def replay_frame(record: Record, channels: Sequence[str]) -> bytes:
    """The frame of a replayed event, which counts for `channels` alone."""
    return text_frame(
        b'%b,"replay":%b,"partition":%d,"offset":%d}'
        % (record.value[:-1], to_json(channels), record.partition, record.offset)
    )


def replay_frames(records: Sequence[Record], channels: Sequence[str]) -> list[bytes]:
    """The same for records of one partition, which all count for the same channels: each in three parts.

    Parts, because most are only joined, and with each copy a crowd that returns would wait.
    """
    middle = b',"replay":%b,"partition":%d,"offset":' % (to_json(channels), records[0].partition)
    parts: list[bytes] = []
    for record in records:
        value, place = record.value, b"%b%d}" % (middle, record.offset)
        size = len(value) - 1 + len(place)
        parts += (_HEADS[size] if size < _KNOWN else _head(size), value[:-1], place)
    return parts


def message_frame(message: dict[str, object]) -> bytes:
    """The frame of any other message."""
    return text_frame(to_json(message))
