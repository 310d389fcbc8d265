"""Reading Server-Sent Events (the HTML standard, "Server-sent events")."""

from typing import NamedTuple


class Sent(NamedTuple):
    """An event: its name (`message` where it has none), its data, and the last id up to it."""

    type: str
    data: str
    last_id: str


class Parser:
    """Fed with bytes, however they were cut. Events without data move `last_id` alone. Lines end with LF or CR LF."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_ms: int | None = None
        """How long to wait before coming back, as was said last."""
        self._rest = b""
        self._id = last_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Sent]:
        """The events that are whole with this."""
        whole, newline, self._rest = (self._rest + chunk).rpartition(b"\n")
        if not newline:
            return []
        found = []
        for line in whole.decode(errors="replace").split("\n"):
            if line := line.removesuffix("\r"):
                self._take(line)
            elif (sent := self._dispatch()) is not None:
                found.append(sent)
        return found

    def _take(self, line: str) -> None:
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
                pass  # a comment, or a field of another day

    def _dispatch(self) -> Sent | None:
        self.last_id = self._id
        sent = Sent(self._type or "message", "\n".join(self._data), self._id) if self._data else None
        self._type, self._data = "", []
        return sent
