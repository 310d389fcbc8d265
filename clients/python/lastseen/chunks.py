"""Cutting a program's output into chunks: numbered by byte, never inside a character, nothing lost."""

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

MAX_CHUNK_BYTES: Final = 16 * 1024
MAX_CHARACTER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one stream; `offset` is that of its first byte in the stream."""

    stream: str
    offset: int
    raw: bytes

    def to_data(self) -> dict[str, JsonValue]:
        """The `data` of a `task_output`: with `text` where it is UTF-8 without NUL, else with `base64`."""
        data: dict[str, JsonValue] = {"stream": self.stream, "offset": self.offset, "bytes": len(self.raw)}
        if b"\0" not in self.raw:
            try:
                return {**data, "text": self.raw.decode()}
            except UnicodeDecodeError:
                pass
        return {**data, "base64": b64encode(self.raw).decode()}


def read_chunk(data: dict[str, Any]) -> Chunk:
    """The chunk that a `task_output`'s `data` carries. Raises ValueError when it carries none."""
    stream, offset, size = data.get("stream"), data.get("offset"), data.get("bytes")
    text, base64 = data.get("text"), data.get("base64")
    if not isinstance(stream, str) or not isinstance(offset, int) or offset < 0:
        raise ValueError("a task_output needs stream and offset")
    if isinstance(text, str):
        raw = text.encode()
    elif isinstance(base64, str):
        raw = b64decode(base64, validate=True)
    else:
        raise ValueError("a task_output needs text or base64")
    if size is not None and size != len(raw):
        raise ValueError(f"a task_output says {size} bytes and has {len(raw)}")
    return Chunk(stream, offset, raw)


class Chunker:
    """Collects the bytes of one stream and gives them out as chunks of at most 16 KiB.

    The bytes of an unfinished character at the end wait for the rest of it; if something else follows, they
    are part of a chunk that is not text.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._offset = 0
        self._buffer = bytearray()

    @property
    def is_waiting(self) -> bool:
        """Whether `flush` would give something."""
        return len(self._buffer) > _unfinished(self._buffer)

    def feed(self, data: bytes) -> list[Chunk]:
        """Take bytes; the chunks that are full."""
        self._buffer += data
        chunks = []
        while len(self._buffer) >= MAX_CHUNK_BYTES:
            chunks.append(self._cut(MAX_CHUNK_BYTES - _unfinished(self._buffer[:MAX_CHUNK_BYTES])))
        return chunks

    def flush(self) -> list[Chunk]:
        """Everything but an unfinished character."""
        size = len(self._buffer) - _unfinished(self._buffer)
        return [self._cut(size)] if size else []

    def finish(self) -> list[Chunk]:
        """The stream has ended: everything."""
        chunks = self.flush()
        if self._buffer:
            chunks.append(self._cut(len(self._buffer)))
        return chunks

    def _cut(self, size: int) -> Chunk:
        chunk = Chunk(self._stream, self._offset, bytes(self._buffer[:size]))
        del self._buffer[:size]
        self._offset += size
        return chunk


def _unfinished(buffer: bytes | bytearray) -> int:
    """How many bytes at the end are the beginning of a UTF-8 character that may still be completed."""
    for back in range(1, min(MAX_CHARACTER_BYTES, len(buffer) + 1)):
        byte = buffer[-back]
        if byte & 0xC0 == 0x80:
            continue
        wanted = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4 if byte & 0xF8 == 0xF0 else 1
        return back if wanted > back else 0
    return 0
