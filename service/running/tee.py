"""Writing a program's output through to our own, as it comes."""

import os

from lastseen.threads import in_thread


class Tee:
    """A file descriptor that takes bytes as long as somebody reads it.

    Written in a thread, so that a reader who is slow (a pager, say) holds up nothing but this stream.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    async def write(self, data: bytes) -> None:
        """Write all of it. Once the reader has gone everything is dropped: the task goes on without it."""
        if self._fd is None:
            return
        try:
            await in_thread(write_all, self._fd, data)
        except OSError:
            self._fd = None


def write_all(fd: int, data: bytes) -> None:
    """Write `data` whole. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
