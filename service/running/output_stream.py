"""One stream of a program's output, read without a buffer of our own: what nobody takes stays with the program."""

import asyncio
import errno
import os
from typing import Final

from service.running.readiness import until_readable

READ_BYTES: Final = 64 * 1024
_GRACE_SECONDS: Final = 0.05
"""A terminal passes on a moment later what was written to it."""
_MOST_AFTER_CUT: Final = 1024 * 1024
"""As much as a pipe can be made to hold."""


class OutputStream:
    """Owns the descriptor. `name` is the stream's in the events."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._fd: int | None = fd
        os.set_blocking(fd, False)
        self._wake: asyncio.Future[None] | None = None
        self._left: int | None = None
        """After the cut, how much may still be read."""
        self.reads = 0
        """Counts what was read, to see when nothing more comes."""

    @property
    def is_waiting(self) -> bool:
        """Whether whoever reads waits for the program."""
        return self._wake is not None

    def cut(self) -> None:
        """It ends with what has been written so far, whoever else holds it."""
        if self._left is None:
            self._left = _MOST_AFTER_CUT
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)

    async def read(self) -> bytes:
        """The next bytes, at most READ_BYTES; none at the end. Cancelled, it has taken none."""
        await asyncio.sleep(0)  # a flood must not keep the others from their turn
        while self._fd is not None and self._left != 0:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                if await self._wait():
                    continue
                return b""
            except OSError as error:
                if error.errno == errno.EIO:
                    return b""  # nobody has the terminal open any more
                raise
            self.reads += 1
            if self._left is not None:
                self._left = max(0, self._left - len(data))
            return data
        return b""

    def close(self) -> None:
        """Whoever still writes gets SIGPIPE, or SIGHUP at a terminal."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    async def _wait(self) -> bool:
        """Whether it is worth reading again."""
        assert self._fd is not None
        if self._left is not None:
            try:
                async with asyncio.timeout(_GRACE_SECONDS):
                    await until_readable(self._fd)
            except TimeoutError:
                return False
            return True
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await until_readable(self._fd, self._wake)
        finally:
            self._wake = None
        return True
