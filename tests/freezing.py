"""Processes that hold what they have and answer nothing, as a machine that stands still does."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_DEADLINE = 10.0
"""Seconds."""


def freeze(pid: int) -> None:
    """Stop each thread of process `pid`, and return when they stand still.

    The signal alone only asks for that: on full cores the other threads go on, and may answer, until one of them has
    been given the time to take it. Raises AssertionError where they never do.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _DEADLINE
    while not _stands_still(pid):
        assert time.monotonic() < deadline, f"process {pid} goes on, {_DEADLINE:g} s after it was told to stop"
        time.sleep(0.001)


def thaw(pid: int) -> None:
    """Have process `pid` go on."""
    os.kill(pid, signal.SIGCONT)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Process `pid` stands still, as long as the block lasts."""
    try:
        freeze(pid)
        yield
    finally:
        thaw(pid)


def _stands_still(pid: int) -> bool:
    threads = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    if not threads:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    # The state stands behind the name, which may hold anything, a bracket too.
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)
