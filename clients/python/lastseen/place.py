"""The place of a viewer, kept in a file, so that after any end it writes on exactly where it was.

Between writing bytes and saving the place a viewer can be killed. Where the output is a regular file its
size tells: the place says how big the file was when it was saved, and what lies beyond is, byte for byte,
the beginning of what comes next (the order of a channel's events never changes). Two streams in one output
need nothing more: the surplus counts bytes of the whole output, the offsets each stream for itself. For a
pipe or a terminal nobody can tell, and what was written since the last save is written again.
"""

import fcntl
import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from lastseen.chunks import Chunk
from lastseen.positions import Position

VERSION: Final = 1


class PlaceError(ValueError):
    """The file is no place, or the place of something else; the message says what it is."""


@dataclass(slots=True)
class Place:
    """How far `channel` has been written, in the form `mode`."""

    channel: str
    mode: str
    position: str
    """The token to resume after the last event that was written whole."""
    streams: dict[str, int] = field(default_factory=dict)
    """Per stream of a task: the offset of the byte to be written next."""
    output: int | None = None
    """The size of the output in bytes, where it is a regular file."""
    closed: bool = False
    """Whether the viewer ended in order: then what the file has beyond `output` is not its own."""

    def save(self, path: Path) -> None:
        """Replace the file in one step. Raises OSError."""
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"version": VERSION, **asdict(self)}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def load(path: Path, channel: str, mode: str) -> Place | None:
    """The place in `path`; None when there is no such file. Raises PlaceError, OSError."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise PlaceError(f"{path} was not written by --save") from error
    try:
        values = json.loads(text)
        version = values.pop("version")
        place = Place(**values)
        Position.parse(place.position)
        place.streams = {str(name): int(offset) for name, offset in place.streams.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PlaceError(f"{path} was not written by --save: remove it or name another file") from error
    if version != VERSION:
        raise PlaceError(f"{path} is of version {version}, this is version {VERSION}: name another file")
    if place.channel != channel:
        raise PlaceError(f"{path} keeps the place of {place.channel}, not of {channel}: name another file")
    if place.mode != mode:
        raise PlaceError(f"{path} keeps the place of {place.mode} output, not of {mode}: name another file")
    return place


def output_size(fd: int) -> int | None:
    """Where the next byte written to `fd` goes, where that is a regular file."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return None
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND:
        return status.st_size
    return os.lseek(fd, 0, os.SEEK_CUR)


def surplus_of(place: Place, size: int | None) -> int:
    """Bytes that the output has beyond the place: written, and not saved before a kill."""
    if place.closed or place.output is None or size is None:
        return 0
    return max(0, size - place.output)


@dataclass(slots=True)
class Trimmer:
    """Leaves out what has been written. `surplus` is of the whole output, `streams` as in a place."""

    streams: dict[str, int] = field(default_factory=dict)
    surplus: int = 0

    def trim(self, chunk: Chunk) -> tuple[bytes, int]:
        """What of the chunk is to be written, and how many bytes before it never came."""
        end = chunk.offset + len(chunk.raw)
        next_ = self.streams.get(chunk.stream, chunk.offset)
        self.streams[chunk.stream] = max(next_, end)
        return self.trim_surplus(chunk.raw[max(0, next_ - chunk.offset) :]), max(0, chunk.offset - next_)

    def trim_surplus(self, data: bytes) -> bytes:
        """`data` without what of it the output has already."""
        had = min(self.surplus, len(data))
        self.surplus -= had
        return data[had:]
