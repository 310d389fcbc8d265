"""The adapter for programs that print how far they are: percents in their lines become `task_progress_update`s."""

import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from lastseen.chunks import Chunk
from pydantic import JsonValue

from service.running.adapter import Published, Said

PROGRESS_UPDATE: Final = "task_progress_update"
MAX_LINE_BYTES: Final = 4096
"""Of a longer line its end is looked at."""
MAX_LINES: Final = 50
"""Of a chunk; of more, its last are looked at."""
PER_SECOND: Final = 4.0
AT_ONCE: Final = 20

PATTERNS: Final = (
    r"\[\s*(?P<percent>\d{1,3})%\]",  # [ 42%]   pytest, CMake
    r"^\s*(?P<percent>\d{1,3}(?:\.\d+)?)%(?=[\s|]|$)",  # 42%|███   at the line's start: tqdm
    r":\s+(?P<percent>\d{1,3}(?:\.\d+)?)%",  # Receiving objects:  42% (42/100)   git, tqdm with a name, pip
    r"(?<![\d.])(?P<percent>\d{1,3}(?:\.\d+)?)%\s*$",  # ####  42.0%   at the line's end: curl
    r"^\s*\[(?P<done>\d{1,9})/(?P<total>\d{1,9})\]",  # [3/12] at the line's start: ninja, docker build
)
"""What a line is searched for, in this order; groups named `percent`, or `done` and `total`. The last match counts."""

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LINE_ENDS: Final = re.compile(rb"[\r\n]")


class ProgressAdapter:
    """Output and input stay as they are; lines end with a line feed or a carriage return.

    An update comes when the percent has changed, AT_ONCE of them at most and then `per_second`: where one is left out,
    the next output or the end makes up for it. A deployment's own patterns take the place of these.
    """

    def __init__(
        self,
        patterns: Sequence[str] = PATTERNS,
        *,
        per_second: float = PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]
        for pattern in self._patterns:
            if not ("percent" in pattern.groupindex or {"done", "total"} <= pattern.groupindex.keys()):
                raise ValueError(f"{pattern.pattern!r} needs a group named percent, or done and total")
        self._per_second = per_second
        self._clock = clock
        self._may = float(AT_ONCE)
        """How many updates may be said now."""
        self._counted_at = clock()
        self._lines: dict[str, bytes] = {}
        """Per stream, the unfinished line."""
        self._seen: float | None = None
        self._said: float | None = None

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """As it is."""
        return argv

    @property
    def needs_input(self) -> bool:
        """As the start says."""
        return False

    @property
    def opening(self) -> bytes:
        """Nothing."""
        return b""

    @property
    def input_ends(self) -> bool:
        """Never by itself."""
        return False

    def output(self, chunk: Chunk) -> Sequence[Published]:
        """The chunk, and how far the program is, if it says so."""
        *lines, unfinished = _LINE_ENDS.split(self._lines.get(chunk.stream, b"") + chunk.raw)
        self._lines[chunk.stream] = _end_of(unfinished)
        for line in (unfinished, *reversed(lines[-MAX_LINES:])):
            if (percent := self._percent(_end_of(line))) is not None:
                self._seen = percent
                break
        return ((chunk, {}), *self._update())

    def finish(self, stream: str) -> Sequence[Published]:
        """How far it came."""
        return self._update(at_last=True)

    def input(self, text: str) -> bytes:
        """The text."""
        return text.encode()

    def confirm(self, confirmation_id: str, approved: bool) -> bytes | None:
        """It asks no questions."""
        return None

    @property
    def open_confirmations(self) -> Collection[str]:
        """None, ever."""
        return ()

    def _percent(self, line: bytes) -> float | None:
        text = _ESCAPES.sub("", line.decode(errors="replace"))
        for pattern in self._patterns:
            for match in reversed(list(pattern.finditer(text))):
                if (percent := _read(match)) is not None:
                    return percent
        return None

    def _update(self, *, at_last: bool = False) -> Sequence[Said]:
        if self._seen is None or self._seen == self._said:
            return ()
        now = self._clock()
        self._may = min(AT_ONCE, self._may + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._may < 1 and not at_last:
            return ()
        self._may -= 1
        self._said = self._seen
        percent: JsonValue = int(self._seen) if self._seen.is_integer() else self._seen
        return (Said(PROGRESS_UPDATE, {"percent": percent}),)


def _end_of(line: bytes) -> bytes:
    """A line, or the end of a longer one behind a character that is no number's beginning."""
    return line if len(line) <= MAX_LINE_BYTES else b"~" + line[-MAX_LINE_BYTES:].lstrip(b"0123456789.~")


def _read(match: re.Match[str]) -> float | None:
    named = match.groupdict()
    if named.get("percent") is not None:
        percent = float(named["percent"])
    elif named.get("total") and float(named["total"]) > 0:
        percent = round(100 * float(named["done"] or 0) / float(named["total"]), 1)
    else:
        return None
    return percent if 0 <= percent <= 100 else None
