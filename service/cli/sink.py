"""Where `lastseen tail` writes: an output, and the place up to which it has been written.

Everything here blocks and runs in one thread at a time, off the event loop.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lastseen.chunks import read_chunk
from lastseen.notices import Gap
from lastseen.place import Place, Trimmer, output_size, surplus_of
from lastseen.stream import Item, Moved, Received
from pydantic_core import to_json

from service.running.tee import write_all

SAVE_SECONDS = 0.1


class Form(Protocol):
    """How events are shown."""

    def show(self, received: Received) -> bytes:
        """What is to be written for an event; nothing for one that does not show."""
        ...


class Raw:
    """The bytes that the program of a task wrote, all its streams in the order of the log."""

    def __init__(self, trimmer: Trimmer, say: Callable[[str], None]) -> None:
        self._trimmer = trimmer
        self._say = say

    def show(self, received: Received) -> bytes:
        event = received.event
        if event["type"] != "task_output":
            return b""
        try:
            chunk = read_chunk(event["data"])
        except ValueError as error:
            self._say(f"event {event['id']} is left out: {error}")
            return b""
        data, missing = self._trimmer.trim(chunk)
        if missing:
            self._say(f"{missing} bytes of {chunk.stream} before byte {chunk.offset} never came")
        return data


class Lines:
    """A line for people for each event of a channel that has no raw output."""

    def __init__(self, trimmer: Trimmer) -> None:
        self._trimmer = trimmer

    def show(self, received: Received) -> bytes:
        return self._trimmer.trim_surplus(line_of(received.event).encode() + b"\n")


class Json:
    """One event a line, with the `position` to resume after it."""

    def show(self, received: Received) -> bytes:
        return to_json({**received.event, "position": received.position.token}) + b"\n"


class Sink:
    """Writes to the descriptor `fd`; with a `file`, keeps the place there."""

    def __init__(
        self, fd: int, form: Form, place: Place | None, file: Path | None, trimmer: Trimmer | None = None
    ) -> None:
        self._fd = fd
        self._form = form
        self._trimmer = trimmer
        self._place = place
        self._file = file
        self._saved_at = 0.0
        self._dirty = False
        self.position: str | None = None
        """The token to resume after what has been written."""
        self.stopped = False
        """Set from outside: write nothing more."""

    def begin(self) -> None:
        """Save where we begin, before anything is written."""
        if self._place is not None and self._place.position:
            self.position = self._place.position
            self._place.closed = False
            self.save()

    def write(self, items: Sequence[Item]) -> None:
        """Write what the items show, in order. Raises OSError."""
        for item in items:
            if self.stopped:
                return
            match item:
                case Received():
                    if data := self._form.show(item):
                        write_all(self._fd, data)
                case Moved():
                    pass
                case _:
                    continue
            self._reached(item)

    def _reached(self, item: Received | Moved) -> None:
        first = self.position is None
        self.position = item.position.token
        if self._place is None:
            return
        self._place.position = self.position
        self._dirty = True
        if first or time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self, *, closed: bool = False) -> None:
        """Save the place, if there is one to keep. Raises OSError."""
        if self._place is None or self._file is None or self.position is None:
            return
        size = output_size(self._fd)
        if size is not None:
            os.fsync(self._fd)  # the place must never claim what a power cut takes back
        if size is not None and self._trimmer is not None:
            size -= self._trimmer.surplus  # it lies beyond the place until the events that it is of have come
        self._place.output = size
        self._place.closed = closed
        self._place.save(self._file)
        self._saved_at = time.monotonic()
        self._dirty = False

    def save_if_due(self) -> None:
        """Save what has been written since the last time."""
        if self._dirty:
            self.save()


def trimmer_of(place: Place, fd: int) -> Trimmer:
    """What the output has already beyond the place; the two share the offsets of the streams."""
    return Trimmer(place.streams, surplus_of(place, output_size(fd)))


def cut_surplus(place: Place, fd: int) -> None:
    """Take back what was written after the place was saved.

    For lines that name positions: those may come again with other positions, so they can't be left out byte
    by byte.
    """
    size = output_size(fd)
    if place.output is not None and surplus_of(place, size):
        os.ftruncate(fd, place.output)
        os.lseek(fd, place.output, os.SEEK_SET)


def describe(gap: Gap) -> str:
    """A gap as a sentence."""
    return f"gap ({gap.reason}): events after {gap.requested} and up to {gap.earliest} will not come"


def line_of(event: Mapping[str, Any]) -> str:
    """An event as a line for people."""
    about = " ".join(
        f"{name.removesuffix('_id')}={event[name]}"
        for name in ("project_id", "task_id", "user_id", "target_user_id")
        if event.get(name) is not None
    )
    return " ".join(part for part in (event.get("timestamp"), event["type"], about, _text(event.get("data"))) if part)


def _text(data: Any) -> str:
    return to_json(data).decode() if data else ""
