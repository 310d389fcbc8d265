"""A program with a lot of output, and what that output is.

`python -m tests.output_program SEED LINES [SECONDS [FILE]]` writes it: text in many scripts, control sequences, NUL
bytes, bytes that are no UTF-8, characters cut in two by a flush; lines of both streams, one after the other.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

STDOUT, STDERR = 1, 2
_WORDS = ["plain", "Grüße", "日本語のテキスト", "🎉🚀", "\x1b[32mgreen\x1b[0m", "\\u0000", '"quoted"', "\t\r", "ﷺ"]


def blocks(seed: int, lines: int) -> Iterator[tuple[int, bytes]]:
    """(descriptor, bytes) of each write, in order: 1 to 400 lines, the last of them perhaps cut anywhere."""
    chance = random.Random(seed)
    bodies = [_body(chance) for _ in range(4_000)]
    written = 0
    rest = {STDOUT: b"", STDERR: b""}
    while written < lines:
        fd = STDERR if chance.random() < 0.2 else STDOUT
        count = min(chance.randrange(1, 400), lines - written)
        chosen = enumerate(chance.choices(bodies, k=count), written)
        text = rest[fd] + b"".join(b"%d %b\n" % (number, body) for number, body in chosen)
        written += count
        cut = len(text) - chance.randrange(60)
        rest[fd] = text[cut:]
        yield fd, text[:cut]
    yield from rest.items()


def _body(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.6:
        return " ".join(chance.choices(_WORDS, k=chance.randrange(1, 18))).encode()
    if kind < 0.996:
        return b"x" * chance.randrange(240)
    return chance.randbytes(chance.randrange(150)).replace(b"\n", b"\0")


def expected(seed: int, lines: int) -> dict[str, bytes]:
    """What the program writes to each stream."""
    streams = {STDOUT: bytearray(), STDERR: bytearray()}
    for fd, data in blocks(seed, lines):
        streams[fd] += data
    return {"stdout": bytes(streams[STDOUT]), "stderr": bytes(streams[STDERR])}


def main(seed: int, lines: int, seconds: float = 0.0, goes_on: Path | None = None) -> None:
    """Write it all, within at least `seconds`; no more than half of it before `goes_on` is there."""
    began, written = time.monotonic(), 0
    for fd, data in blocks(seed, lines):
        if goes_on is not None and written + data.count(b"\n") > lines // 2:
            began += _waited_for(goes_on)
            goes_on = None
        written += data.count(b"\n")
        at = 0
        while at < len(data):
            at += os.write(fd, data[at:])
        time.sleep(max(0.0, began + seconds * written / lines - time.monotonic()))


def _waited_for(file: Path) -> float:
    """How long it took until it was there, in seconds."""
    began = time.monotonic()
    while not file.exists():
        time.sleep(0.01)
    return time.monotonic() - began


if __name__ == "__main__":
    _, seed, lines, *more = sys.argv
    main(int(seed), int(lines), float(more[0]) if more else 0.0, Path(more[1]) if len(more) > 1 else None)
