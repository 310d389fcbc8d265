"""What a client of Server-Sent Events makes of the bytes that come: by the letter of the HTML standard."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r(?=.))", re.DOTALL)


class Dispatched(NamedTuple):
    """An event that a page is told of."""

    type: str
    data: Any
    last_event_id: str


@dataclass
class EventSource:
    """Fed with bytes however they were cut. `last_event_id` is what a reconnect would send."""

    dispatched: list[Dispatched] = field(default_factory=list)
    last_event_id: str = ""
    retry_ms: int | None = None
    _rest: bytes = b""
    _id: str = ""
    _type: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, chunk: bytes) -> list[Dispatched]:
        """Take what came; the events that it completes."""
        self._rest += chunk
        before = len(self.dispatched)
        end = 0
        for line in _LINE.finditer(self._rest):
            self._take(line[1].decode())
            end = line.end()
        self._rest = self._rest[end:]
        return self.dispatched[before:]

    def cut(self) -> None:
        """The connection has broken: what was not completed is gone."""
        self._rest = b""
        self._type, self._data, self._id = "", [], self.last_event_id

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of those without a name."""
        return [one.data for one in self.dispatched if one.type == "message"]

    def named(self, type_: str) -> list[dict[str, Any]]:
        """The data of those with that name."""
        return [one.data for one in self.dispatched if one.type == type_]

    def _take(self, line: str) -> None:
        if not line:
            self._dispatch()
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)
            case _:
                raise AssertionError(f"not a line of ours: {line!r}")

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            data = json.loads("\n".join(self._data))
            self.dispatched.append(Dispatched(self._type or "message", data, self.last_event_id))
        self._type, self._data = "", []
