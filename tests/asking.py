"""An adapter for programs that ask: a line `ask ID` is a question, `forget ID` takes it back."""

from collections.abc import Collection, Sequence

from lastseen.chunks import Chunk

from service.running.adapter import CONFIRMATION_REQUIRED, Published, Said
from service.running.adapters.plain import PlainAdapter


class AskingAdapter(PlainAdapter):
    """Holds its output back until the line is whole; a line `fail` makes it raise."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._line = b""
        self._offset = 0

    def output(self, chunk: Chunk) -> Sequence[Published]:
        """Whole lines, and what they say."""
        *lines, self._line = (self._line + chunk.raw).split(b"\n")
        published: list[Published] = []
        for line in lines:
            published.append((Chunk(chunk.stream, self._offset, line + b"\n"), {"kind": "line"}))
            self._offset += len(line) + 1
            match line.decode().split():
                case ["ask", id_]:
                    self._open.append(id_)
                    published.append(Said(CONFIRMATION_REQUIRED, {"confirmation_id": id_, "text": f"{id_}?"}))
                case ["forget", id_]:
                    self._open.remove(id_)
                case ["say", type_]:
                    published.append(Said(type_, {}))
                case ["fail"]:
                    raise RuntimeError("told to fail")
        return published

    def finish(self, stream: str) -> Sequence[Published]:
        """The last line."""
        return [(Chunk(stream, self._offset, self._line), {})] if self._line else []

    def confirm(self, confirmation_id: str, approved: bool) -> bytes | None:
        """A line."""
        if confirmation_id not in self._open:
            return None
        self._open.remove(confirmation_id)
        return f"{confirmation_id} {'yes' if approved else 'no'}\n".encode()

    @property
    def open_confirmations(self) -> Collection[str]:
        """Those asked and neither answered nor taken back."""
        return self._open

    @property
    def opening(self) -> bytes:
        """A line, too."""
        return b"hello\n"

    @property
    def needs_input(self) -> bool:
        """To be answered."""
        return True

    @property
    def input_ends(self) -> bool:
        """When it was told so."""
        return "end" in self._open
