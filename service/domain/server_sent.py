"""Server-Sent Events as bytes (the HTML standard, "Server-sent events")."""

import re
from typing import Final

from pydantic_core import to_json

from service.domain.messages import Message

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


def event(payload: bytes, place: str) -> bytes:
    """An event without a name, for `onmessage`: JSON, and the place of the stream behind it."""
    return b"id: %b\n%b\n" % (place.encode(), _data(payload))


def named(message: Message, place: str | None = None) -> bytes:
    """A message of the service's own, an event by the name of its type; with a place it moves the stream there."""
    id_ = b"" if place is None else b"id: %b\n" % place.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (id_, str(message["type"]).encode(), to_json(message))


def moved(place: str) -> bytes:
    """The stream's place alone: nobody is told, and whoever comes back goes on from there."""
    return b"id: %b\n\n" % place.encode()


def retry(ms: int) -> bytes:
    """How long a client waits before it comes back."""
    return b"retry: %d\n\n" % ms


def _data(payload: bytes) -> bytes:
    """A foreign producer may have written its JSON over several lines; what they are joined by means nothing in it."""
    if b"\n" not in payload and b"\r" not in payload:
        return b"data: %b\n" % payload
    return b"".join(b"data: %b\n" % line for line in _LINE_END.split(payload))
