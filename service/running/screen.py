"""The screen of a pseudo-terminal: what its program has drawn, and a text that draws it again.

A screen takes the bytes of the stream as they come. Its snapshot, fed to a terminal of the same size and followed by
the bytes from the snapshot's offset on, shows what the whole stream shows: wherever the stream was cut, inside a
character or inside an escape sequence. The main screen, the alternate one, both saved cursors, margins, tab stops,
character sets and modes are part of it; scrollback is not, and neither are images.

What has no width of its own (accents that follow their letter, joiners, variation selectors) is left out: columns
stay right.
"""

import re
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from json import dumps
from typing import Any, Final, TypeGuard

from avt import Vt
from lastseen.chunks import Chunk
from pydantic import JsonValue

from service.running.terminal_modes import TerminalModes

MAX_SIDE: Final = 1000
"""Columns or rows of a screen."""
MAX_HELD: Final = 4096
"""Characters of an unfinished escape sequence that are kept as they came; of a longer one only its kind is."""
MAX_SNAPSHOT_BYTES: Final = 192 * 1024
"""Of a snapshot's text as JSON: it has to fit into an event."""

_UTF8: Final = getincrementaldecoder("utf-8")
_C1: Final = {
    0x84: "\x1bD",
    0x85: "\x1bE",
    0x88: "\x1bH",
    0x8D: "\x1bM",
    0x90: "\x1bP",
    0x98: "\x1bX",
    0x9B: "\x1b[",
    0x9C: "\x1b\\",
    0x9D: "\x1b]",
    0x9E: "\x1b^",
    0x9F: "\x1b_",
}
"""The one-character forms of escape sequences, which not every terminal knows, as they are written else."""
_ANY_C1: Final = re.compile("[\x80-\x9f]")
_EXECUTED: Final = r"\x00-\x17\x19\x1c-\x1f"
"""Controls that act also in the middle of a sequence; the others end it."""
_COMPLETE: Final = re.compile(
    r"(?:[^\x1b]++"
    rf"|\x1b\[[{_EXECUTED}\x20-\x3f]*+(?:(?=\x1b)|[^{_EXECUTED}\x20-\x3f\x1b])"
    r"|\x1b[\]PX^_][^\x07\x18\x1a\x1b]*+(?:[\x07\x18\x1a]|\x1b\\|(?=\x1b[^\\]))"
    rf"|\x1b(?![\[\]PX^_])[{_EXECUTED}\x20-\x2f]*+(?:(?=\x1b)|[^{_EXECUTED}\x20-\x2f\x1b])"
    r")*+"
)
"""As much of a text as ends with no sequence unfinished."""
_REPEAT: Final = re.compile(r"\x1b\[(\d+)b")
_POINTS: Final = (*range(0x300, 0x20000), *range(0xE0000, 0xE0200))
"""Where characters without a width are."""

_REPEATED: Final = re.compile(r"(.)\x1b\[(\d+)b", re.DOTALL)
_COLOURS: Final = re.compile(r"\x1b\[[\d;:]*:[\d;:]*m")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A screen as of an offset of its stream.

    `text` clears whatever a terminal of `columns` by `rows` shows and draws the screen. Lines and columns of the
    cursor count from 0; a cursor in the column `columns` has written the last one and not wrapped yet.
    """

    columns: int
    rows: int
    offset: int
    text: str
    cursor_line: int
    cursor_column: int
    cursor_visible: bool

    def to_data(self) -> dict[str, JsonValue]:
        """The `data` of a `task_screen`."""
        return {
            "columns": self.columns,
            "rows": self.rows,
            "offset": self.offset,
            "text": self.text,
            "cursor": {"line": self.cursor_line, "column": self.cursor_column, "visible": self.cursor_visible},
        }


def read_snapshot(data: dict[str, Any]) -> Snapshot:
    """The snapshot that a `task_screen`'s `data` carries. Raises ValueError when it carries none."""
    columns, rows, offset, text = data.get("columns"), data.get("rows"), data.get("offset"), data.get("text")
    cursor = data.get("cursor")
    if not (
        _is_count(columns, 1, MAX_SIDE)
        and _is_count(rows, 1, MAX_SIDE)
        and _is_count(offset, 0, None)
        and isinstance(text, str)
        and isinstance(cursor, dict)
        and _is_count(cursor.get("line"), 0, rows)
        and _is_count(cursor.get("column"), 0, columns)
        and isinstance(cursor.get("visible"), bool)
    ):
        raise ValueError("a task_screen needs columns, rows, offset, text and a cursor with line, column and visible")
    return Snapshot(columns, rows, offset, text, cursor["line"], cursor["column"], cursor["visible"])


def screen_after(snapshot: Snapshot, chunks: Iterable[Chunk]) -> Snapshot:
    """The screen once the stream has gone on with these chunks, in order; what lies before the snapshot is passed over.

    Raises ValueError when bytes are missing between them, or when the screen has become too large for a snapshot.
    """
    screen = Screen.of(snapshot)
    for chunk in chunks:
        begin = screen.offset - chunk.offset
        if begin < 0:
            raise ValueError(f"the chunk at {chunk.offset} does not follow: the bytes from {screen.offset} are missing")
        screen.feed(chunk.raw[begin:])
    after = screen.snapshot()
    if after is None:
        raise ValueError(f"the screen takes more than {MAX_SNAPSHOT_BYTES} bytes")
    return after


class Screen:
    """A terminal of one size that is fed with bytes, from `offset` of its stream on."""

    def __init__(self, columns: int, rows: int, offset: int = 0) -> None:
        if not (0 < columns <= MAX_SIDE and 0 < rows <= MAX_SIDE):
            raise ValueError(f"a screen has 1 to {MAX_SIDE} columns and rows, not {columns} by {rows}")
        self._columns = columns
        self._rows = rows
        self._terminal = Vt(columns, rows, 0)
        self._modes = TerminalModes()
        self._decoder = _UTF8("replace")
        self._held = ""
        """The beginning of an escape sequence: the terminal gets it whole."""
        self._offset = offset

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Screen":
        """The screen that a snapshot was taken of."""
        screen = cls(snapshot.columns, snapshot.rows)
        screen.feed(snapshot.text.encode())
        screen._offset = snapshot.offset
        return screen

    @property
    def offset(self) -> int:
        """How many bytes of the stream it has taken."""
        return self._offset

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._offset += len(data)
        text = self._decoder.decode(data)
        if not text.isascii():
            text = _without_width().sub("", text)
            if _ANY_C1.search(text):
                text = text.translate(_C1)
        text = self._held + text
        match = _COMPLETE.match(text)
        end = match.end() if match else 0
        if len(text) - end > MAX_HELD:
            end = len(text)
        self._held = text[end:]
        self._write(text[:end])

    def snapshot(self) -> Snapshot | None:
        """The screen as it is; None when it takes more than an event holds (a picture made of coloured characters)."""
        text = f"\x1bc{self._modes.text}{_plainer(self._terminal.dump())}{self._held}"
        if len(dumps(text)) > MAX_SNAPSHOT_BYTES:
            return None
        unfinished, _ = self._decoder.getstate()
        cursor = self._terminal.cursor
        return Snapshot(
            self._columns, self._rows, self._offset - len(unfinished), text, cursor.row, cursor.col, cursor.visible
        )

    def _write(self, text: str) -> None:
        # A sequence of eight characters may ask for 65,535 more; what is left on the screen takes no more than this.
        most = self._columns * self._rows
        self._terminal.feed_str(_REPEAT.sub(lambda match: f"\x1b[{min(int(match[1][:6]), most)}b", text))
        self._modes.feed(text)


def _is_count(value: object, least: int, most: int | None) -> TypeGuard[int]:
    return type(value) is int and value >= least and (most is None or value <= most)


def _plainer(dump: str) -> str:
    """The same in sequences that every terminal knows: no C1, no repetition, tab stops and colours the old way."""
    # An unfinished string at the end has lost its beginning: what follows must not be taken for a title.
    text = dump[:-1] + "\x1b]9999;" if dump.endswith("\x9d") else dump
    text = text.translate(_C1)
    text = _REPEATED.sub(lambda match: match[1] * (int(match[2]) + 1), text)
    text = text.replace("\x1b[5W", "\x1b[3g").replace("\x1b[W", "\x1bH").replace("\x1b[0W", "\x1bH")
    return _COLOURS.sub(lambda match: match[0].replace(":", ";"), text)


@cache
def _without_width() -> re.Pattern[str]:
    """Characters that a terminal draws onto the one before, or not at all."""
    found = [chr(point) for point in _POINTS if unicodedata.category(chr(point)) in ("Mn", "Me", "Cf")]
    found += map(chr, [*range(0x1160, 0x1200), *range(0xD7B0, 0xD7FF)])
    # The two planes apart: a set within the first one is looked up in a table.
    first = "".join(re.escape(character) for character in found if character <= "\uffff")
    rest = "".join(character for character in found if character > "\uffff")
    return re.compile(f"[{first}]|(?=[\U00010000-\U0010ffff])[{rest}]")
