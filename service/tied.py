"""Child processes that end with the process that started them (Linux)."""

import ctypes
import os
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def tie_to_parent(orphan_signal: int) -> Callable[[], None] | None:
    """Makes the kernel send `orphan_signal` to the child when the thread that spawned it ends.

    It is called before the fork, what it returns in the child.
    """
    if _libc is None:
        return None
    parent, libc = os.getpid(), _libc

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie
