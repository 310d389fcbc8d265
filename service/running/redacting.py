"""Masking in a program's output what must not be seen: as many `*` as it has bytes, so that offsets stay the program's.

Patterns are matched line by line. Of a line that is not finished everything is held back, until it is finished, has
grown to LONGEST_LINE, or is flushed because nothing more came for a while. So however the program's writes are cut,
what comes out is what masking whole lines gives, but for these two:

- A line longer than LONGEST_LINE is searched in windows of that size which overlap by LONGEST_MATCH: what is longer
  than that, in such a line, may be seen in part.
- What was flushed has been seen. The rest of a match that began in it is masked when it comes.
"""

import re
from collections.abc import Sequence
from typing import Final

LONGEST_LINE: Final = 16 * 1024
LONGEST_MATCH: Final = 4 * 1024

_MASK: Final = b"*"


def compile_patterns(patterns: Sequence[str]) -> tuple[re.Pattern[bytes], ...]:
    """Regular expressions as they are matched: on the bytes of UTF-8, where `.` and classes mean single bytes.

    Raises ValueError, naming the first that is none or that matches nothing at all.
    """
    compiled = []
    for pattern in patterns:
        try:
            made = re.compile(pattern.encode())
        except (re.error, UnicodeEncodeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if made.fullmatch(b""):
            raise ValueError(f"{pattern!r} matches the empty text: it has to say what to mask")
        compiled.append(made)
    return tuple(compiled)


def mask(line: bytes, patterns: Sequence[re.Pattern[bytes]]) -> bytes:
    """A line without its end, with every match of any pattern masked; matches may overlap."""
    masked = None
    for pattern in patterns:
        for match in pattern.finditer(line):
            begin, end = match.span()
            if masked is None:
                masked = bytearray(line)
            masked[begin:end] = _MASK * (end - begin)
    return line if masked is None else bytes(masked)


class Redactor:
    """A `StreamRedactor` for one stream."""

    def __init__(self, patterns: Sequence[re.Pattern[bytes]]) -> None:
        self._patterns = [(pattern, _seeker(pattern)) for pattern in patterns]
        self._line = bytearray()
        """The unfinished line from its beginning, or a window of it: as it came, for the patterns."""
        self._masked = bytearray()
        """The same, with what windows before this one have masked."""
        self._released = 0
        """How much of it has been given out."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes; those that can be said."""
        said = bytearray()
        begin, end = 0, data.rfind(b"\n") + 1
        if self._line and end:
            begin = data.index(b"\n") + 1
            self._finish(data[: begin - 1], said)
        if begin < end:
            self._take_lines(data[begin : end - 1], said)
        self._grow(data[end:], said)
        return bytes(said)

    def flush(self) -> bytes:
        """All of the unfinished line: nothing more comes, for a while or at all."""
        return self._release(len(self._line))

    def _take_lines(self, lines: bytes, said: bytearray) -> None:
        """Whole lines, the last without its end; no other is unfinished."""
        patterns = [pattern for pattern, seeker in self._patterns if seeker is None or seeker.search(lines)]
        if not patterns:
            said += lines + b"\n"
            return
        for line in lines.split(b"\n"):
            if len(line) < LONGEST_LINE:
                said += mask(line, patterns) + b"\n"
            else:
                self._finish(line, said)

    def _finish(self, data: bytes, said: bytearray) -> None:
        """The rest of the line, and its end."""
        self._grow(data, said)
        said += self._release(len(self._line)) + b"\n"
        self._forget(len(self._line))

    def _grow(self, data: bytes, said: bytearray) -> None:
        """More of the line; what leaves the window goes to `said`. Where windows begin does not depend on the cuts."""
        at = 0
        while at < len(data):
            part = data[at : at + LONGEST_LINE - len(self._line)]
            at += len(part)
            self._line += part
            self._masked += part
            if len(self._line) == LONGEST_LINE:
                said += self._release(LONGEST_LINE - LONGEST_MATCH)
                self._forget(LONGEST_LINE - 2 * LONGEST_MATCH)

    def _release(self, end: int) -> bytes:
        line = bytes(self._line)
        masked = mask(line, [pattern for pattern, _ in self._patterns])
        if masked is not line:
            self._masked = bytearray(
                _MASK[0] if is_masked != was else now
                for was, is_masked, now in zip(line, masked, self._masked, strict=True)
            )
        said = bytes(self._masked[self._released : end])
        self._released = max(self._released, end)
        return said

    def _forget(self, size: int) -> None:
        del self._line[:size]
        del self._masked[:size]
        self._released -= min(self._released, size)


def _seeker(pattern: re.Pattern[bytes]) -> re.Pattern[bytes] | None:
    """Finds something in many lines at once if the pattern matches in one of them alone; None: that can't be known.

    It can't where a pattern may ask for what is not there: a line's end is not what a text's end is.
    """
    if any(part in pattern.pattern for part in (b"(?!", b"(?<!", b"(?-", b"(?(", b"\\A", b"\\Z", b"\\B")):
        return None
    return re.compile(pattern.pattern, pattern.flags | re.MULTILINE)
