"""The loop in Python, for where no compiler was."""

import os
from array import array


def send_all(fds: "array[int]", slots: "array[int]", frames: bytes, /) -> list[tuple[int, int]]:
    """As `ports.SendAll`."""
    rest: list[tuple[int, int]] = []
    write, size = os.write, len(frames)
    for slot in slots:
        fd = fds[slot]
        if fd < 0:
            rest.append((slot, 0))
            continue
        try:
            sent = write(fd, frames)
        except OSError:
            # That it takes nothing now, or nothing any more: whoever owns it finds out which.
            sent = 0
        if sent != size:
            rest.append((slot, sent))
    return rest
