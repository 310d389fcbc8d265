"""The guardian of a runner: a process that outlives it by a moment, to end the programs that it left.

It reads lines from its stdin, a pipe whose other end the runner holds: `+ID` for a session to watch, `-ID` for one that
has ended. At the end of the pipe, however the runner came to it, it kills what is left and ends. It is run as a script,
with nothing but the standard library, so that it costs little and is there at once.
"""

import os
import signal
import sys
import time
from contextlib import suppress

LOOK_SECONDS = 0.05
TRIES = 100


def main() -> None:
    """Watch, and kill at the end."""
    # Whoever ends the runner's group, or its terminal, must not end us before it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: set[int] = set()
    for line in sys.stdin.buffer:
        (watched.add if line.startswith(b"+") else watched.discard)(int(line[1:]))
    if not _processes():
        for session in watched:
            with suppress(OSError):
                os.killpg(session, signal.SIGKILL)
        return
    for _ in range(TRIES):
        members = [pid for pid in _processes() if _session(pid) in watched]
        if not members:
            return
        for pid in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def _processes() -> list[int]:
    """All of this machine; none where the system does not list them so (it is not Linux)."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


if __name__ == "__main__":
    main()
