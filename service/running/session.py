"""Who belongs to a session. A shell with job control gives each of its jobs a group of its own.

`psutil` takes a while to import, and a program that is run in nobody's session but ours mostly does without.
"""

import os
from contextlib import suppress


def groups_of(session: int) -> list[int]:
    """The process groups of a session, its leader's first."""
    found = [session]
    for pid in _members(session):
        with suppress(OSError):
            group = os.getpgid(pid)
            if group not in found:
                found.append(group)
    return found


def has_members(session: int) -> bool:
    """Whether anybody of it goes on: whoever has ended and waits to be reaped does not."""
    return any(goes_on(pid) for pid in _members(session))


def descendants_of(pid: int) -> list[int]:
    """The processes that it has started, and those that these have, as far as their parents go on."""
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _members(session: int) -> list[int]:
    import psutil

    return [pid for pid in psutil.pids() if _session_of(pid) == session]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def goes_on(pid: int) -> bool:
    """Whether a process runs or is stopped."""
    import psutil

    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False
