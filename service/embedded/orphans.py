"""Stops what a supervisor that was killed has left running."""

import asyncio
import contextlib
import json
from pathlib import Path

import psutil

SAME_START = 2.0
GRACE = 5.0
POLL = 0.05


def _still_ours(path: Path) -> tuple[psutil.Process, int] | None:
    """The process of a pid file, if it is still the one that was started then."""
    try:
        record = json.loads(path.read_text())
        process = psutil.Process(record["pid"])
        # The number may be another process's by now: only the same start time and program make it ours.
        if abs(process.create_time() - record["created"]) > SAME_START:
            return None
        command = process.cmdline()
        if not command or command[0] != record["program"]:
            return None
        return process, record["signal"]
    except (psutil.Error, OSError, ValueError, KeyError):
        return None


def find(run_dir: Path) -> list[tuple[str, psutil.Process, int]]:
    """Name, process and stop signal of everything that an earlier supervisor left running."""
    return [(path.stem, *found) for path in sorted(run_dir.glob("*.json")) if (found := _still_ours(path)) is not None]


async def stop(run_dir: Path) -> list[str]:
    """Ends all orphans of `run_dir`, politely first, and clears its pid files; returns their names."""
    orphans = find(run_dir)
    for _, process, signal in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal)
    for process in await _left([process for _, process, _ in orphans]):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await _left([process for _, process, _ in orphans])
    _clear(run_dir)
    return [name for name, _, _ in orphans]


async def _left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after GRACE seconds; returns as soon as none does."""
    deadline = asyncio.get_running_loop().time() + GRACE
    while True:
        alive = [one for one in processes if _runs(one)]
        if not alive or asyncio.get_running_loop().time() > deadline:
            return alive
        await asyncio.sleep(POLL)


def _runs(process: psutil.Process) -> bool:
    try:
        # A zombie has ended; that its new parent is slow to notice is not for us to wait for.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _clear(run_dir: Path) -> None:
    for path in run_dir.glob("*.json"):
        path.unlink()
