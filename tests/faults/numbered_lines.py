"""A program that writes numbered lines at a pace, and what these are.

`python numbered_lines.py NAME BYTES BYTES_A_SECOND` writes them: 100 bytes each, with the name and the number in it.
"""

import os
import sys
import time

_LINE = 100
_TURN_SECONDS = 0.02


def content(name: str, size: int) -> bytes:
    """The first `size` bytes of it."""
    lines = (f"{name} {number:08} ".encode().ljust(_LINE - 1, b".") + b"\n" for number in range(-(-size // _LINE)))
    return b"".join(lines)[:size]


def main(name: str, size: int, rate: float) -> None:
    """Write them; no faster than that, and slower where nobody takes them."""
    data, written, began = memoryview(content(name, size)), 0, time.monotonic()
    while written < size:
        due = min(size, int((time.monotonic() - began) * rate))
        while written < due:
            written += os.write(1, data[written:due])
        time.sleep(_TURN_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
