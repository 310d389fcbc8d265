"""The runner's side of its guardian."""

import asyncio
import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lastseen.threads import in_thread

logger = logging.getLogger(__name__)

_SCRIPT: Final = Path(__file__).with_name("guardian.py")
_END_SECONDS: Final = 10.0


class Guard:
    """Tells the guardian which sessions are to end with this process. Use it in an `async with`."""

    def __init__(self) -> None:
        self._watched: set[int] = set()
        self._guardian: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        self._guardian = _start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The guardian ends what is left, and itself."""
        if self._guardian is not None:
            assert self._guardian.stdin is not None, "a pipe"
            with suppress(OSError):
                self._guardian.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await in_thread(self._guardian.wait)

    def watch(self, session: int) -> None:
        """That session ends with this process."""
        self._watched.add(session)
        self._tell(f"+{session}\n")

    def forget(self, session: int) -> None:
        """That session has ended."""
        self._watched.discard(session)
        self._tell(f"-{session}\n")

    def _tell(self, line: str) -> None:
        """Waits for nothing: the pipe holds thousands of lines, and the guardian does nothing but read."""
        assert self._guardian is not None, "entered"
        if self._guardian.poll() is not None:
            logger.warning("the guardian of the programs has ended (%d): another is started", self._guardian.returncode)
            self._guardian = _start()
            line = "".join(f"+{session}\n" for session in self._watched)
        assert self._guardian.stdin is not None, "a pipe"
        try:
            self._guardian.stdin.write(line.encode())
            self._guardian.stdin.flush()
        except OSError as error:
            logger.warning("the guardian of the programs hears nothing: %s", error)


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-I", "-S", str(_SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )
