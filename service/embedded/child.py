"""A child process: what it is, how it is spawned, and how it is found again after its parent died."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from service.tied import tie_to_parent

LOG_LIMIT = 16 * 1024 * 1024
REASON_WITHIN = 16 * 1024
TELLING = ("Exception", "Error", "ERROR", "FATAL", "PANIC", "error:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What a supervisor runs.

    `ready` is asked again and again until it says True, within `ready_within` seconds; without it a child is ready
    once it runs. `stop_signal` asks it to stop, which it may take `grace` seconds for; `orphan_signal` reaches it
    when the supervisor itself is killed (Linux). `user` = (uid, gid) to run as; `env` is the whole environment.
    """

    name: str
    argv: list[str]
    log: Path
    env: Mapping[str, str] | None = None
    ready: Callable[[], Awaitable[bool]] | None = None
    ready_within: float = 90.0
    stop_signal: int = signal.SIGTERM
    orphan_signal: int = signal.SIGTERM
    grace: float = 4.0
    user: tuple[int, int] | None = None


async def spawn(child: Child, run_dir: Path) -> asyncio.subprocess.Process:
    """Starts `child` in a session of its own and leaves a pid file in `run_dir`. Raises OSError."""
    _rotate(child.log)
    with child.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *child.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env=child.env,
            cwd="/",
            start_new_session=True,
            preexec_fn=tie_to_parent(child.orphan_signal),
            user=None if child.user is None else child.user[0],
            group=None if child.user is None else child.user[1],
            extra_groups=None if child.user is None else [],
        )
    _remember(child, process.pid, run_dir)
    return process


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(log.name + ".1"))


def _remember(child: Child, pid: int, run_dir: Path) -> None:
    try:
        process = psutil.Process(pid)
        record = {"pid": pid, "created": process.create_time(), "signal": int(child.stop_signal)}
    except psutil.Error:
        return  # it is gone already; whoever waits for it says so
    (run_dir / f"{child.name}.json").write_text(json.dumps(record | {"program": child.argv[0]}))


def forget(name: str, run_dir: Path) -> None:
    """Removes the pid file of a child that has ended."""
    (run_dir / f"{name}.json").unlink(missing_ok=True)


def log_size(log: Path) -> int:
    """Bytes in `log` so far: where what is written next begins."""
    return log.stat().st_size if log.exists() else 0


def reason(log: Path, start: int) -> str:
    """The line written to `log` since the byte `start` that most likely says what went wrong, and where the log is.

    Ends a sentence; the newest line that reads like an error wins, else the newest line.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - REASON_WITHIN))
            written = file.read().decode(errors="replace")
    except OSError:
        written = ""
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in TELLING)] or lines
    return (f": {telling[-1][:300]}" if telling else "") + f" (log: {log})"
